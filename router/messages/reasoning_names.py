"""Thoughts under both of the names that clients read: `reasoning_content` and `reasoning`. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from router.messages.answer import write
from router.messages.openai_form import REASONING
from router.types import Reply

_OTHER_NAME = "reasoning"
_IN_BYTES = f'"{REASONING}"'.encode()


def with_both_names(reply: Reply) -> Reply:
    """Return a reply whose thoughts have both names, whole or streamed."""
    return Reply(_renamed(reply.body), None if reply.events is None else _renamed_events(reply.events))


async def _renamed_events(events: AsyncIterator[list[bytes]]) -> AsyncIterator[list[bytes]]:
    async for together in events:
        yield [_renamed(event) for event in together]


def _renamed(answer: bytes) -> bytes:
    if _IN_BYTES not in answer:
        return answer
    try:
        whole = msgspec.json.decode(answer)
    except (msgspec.DecodeError, ValueError):  # half of a surrogate pair: it was checked before, and is kept
        return answer
    for choice in whole["choices"]:
        part = choice.get("message") or choice.get("delta")
        if isinstance(part, dict) and REASONING in part:
            part[_OTHER_NAME] = part[REASONING]
    return write(whole)
