"""Keys that tell which requests belong together: by their prompt's beginning, and as turns of one conversation. Pure.

A key is the same in every process and after a restart. Long texts are sampled, so a key costs some microseconds
whatever the length of the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

from router.types import ChatCall

SAMPLED = 512
"""of a longer text, so many characters of its beginning and of its end count, and its length"""
MAX_TEXTS = 64
"""of a message with more parts, the first ones count"""
MAX_FIRST_MESSAGES = 8
"""messages of the beginning that count"""
_KEY_BITS = 63  # a cell of shared memory holds no more


def prefix_key(call: ChatCall, session: str) -> int | None:
    """Return the key of the calls whose prompts begin alike, or None if the call has no messages and names no session.

    It is the client's session, else its `prompt_cache_key`, else the messages up to the first one of the user. So all
    turns of a conversation have one key, and conversations that share a system prompt have different ones.
    """
    name = session or call.body.get("prompt_cache_key")
    if isinstance(name, str) and name:
        return _key([name])
    messages = call.endpoint.messages(call.body)
    return _key(_beginning(messages, len(messages))) if messages else None


def turn_key(call: ChatCall, session: str) -> int:
    """Return the key by which the conversation's next turn finds this one."""
    messages = call.endpoint.messages(call.body)
    return _turn_key(call, session, messages, len(messages))


def earlier_turn_key(call: ChatCall, session: str) -> int | None:
    """Return the `turn_key` of the turn before this one, or None if there is none.

    The turn before was asked with all messages before the last answer. So examples of answers in a prompt are not
    taken for a conversation: nobody has asked for them.
    """
    messages = call.endpoint.messages(call.body)
    for at in range(len(messages) - 1, 0, -1):
        if messages[at]["role"] == "assistant":
            return _turn_key(call, session, messages, at)
    return None


def _turn_key(call: ChatCall, session: str, messages: Sequence[Mapping[str, Any]], end: int) -> int:
    """Return the key of the turn whose request had the first `end` messages.

    What the model answered is left out, because clients shorten it. Without a session, the number of the messages, the
    beginning and the newest message tell the turn.
    """
    if session:
        return _key([call.model, session])
    texts = [call.model, str(end), *_beginning(messages, end)]
    _add_texts(messages[end - 1 : end], texts)
    return _key(texts)


def _beginning(messages: Sequence[Mapping[str, Any]], end: int) -> list[str]:
    """Return the texts of the first `end` messages, up to the first one of the user."""
    texts: list[str] = []
    for message in messages[: min(end, MAX_FIRST_MESSAGES)]:
        _add_texts(message, texts)
        if message["role"] == "user":
            break
    return texts


def _add_texts(value: object, texts: list[str]) -> None:
    """Add every text within a JSON value, up to `MAX_TEXTS` of each mapping and array."""
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, dict):
        for part in islice(value.values(), MAX_TEXTS):
            _add_texts(part, texts)
    elif isinstance(value, list):
        for part in value[:MAX_TEXTS]:
            _add_texts(part, texts)


def _key(texts: Sequence[str]) -> int:
    sampled = [text if len(text) <= 2 * SAMPLED else text[:SAMPLED] + text[-SAMPLED:] for text in texts]
    lengths = ",".join(str(len(text)) for text in texts)
    digest = blake2b("".join([lengths, *sampled]).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> (64 - _KEY_BITS) or 1
