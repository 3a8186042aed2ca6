"""The prompt of a request: its texts and its approximate number of tokens. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from router.types import ChatCall

CHARACTERS_PER_TOKEN = 4  # for English with common tokenizers; only for estimates


def texts(call: ChatCall) -> Iterator[str]:
    """Yield every text of the messages or of the prompt."""
    return _texts(call.body.get(call.endpoint.prompt_field))


def rough_tokens(call: ChatCall) -> int:
    """Return the approximate number of prompt tokens. It is exact if the client sent token ids."""
    return sum(len(text) for text in texts(call)) // CHARACTERS_PER_TOKEN + (
        0 if call.endpoint.has_messages else _count_token_ids(call.body.get(call.endpoint.prompt_field))
    )


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(value.get("content"))
        yield from _texts(value.get("text"))
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)


def _count_token_ids(prompt: object) -> int:
    if not isinstance(prompt, list):
        return 0
    return sum(1 if isinstance(part, int) else _count_token_ids(part) for part in prompt)
