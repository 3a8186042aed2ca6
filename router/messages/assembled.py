"""A call for a whole answer whose answer is read as a stream. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from router.types import ChatCall


def as_assembled(call: ChatCall) -> ChatCall:
    """Return the call for a whole answer as one whose answer is read as a stream."""
    return replace(call.replaced({"stream": True}), stream=True, is_assembled=True)


def as_whole(call: ChatCall) -> ChatCall:
    """Return a call `as_assembled` as one whose answer is read as a whole."""
    return replace(call.replaced({"stream": None}), stream=False, is_assembled=False)
