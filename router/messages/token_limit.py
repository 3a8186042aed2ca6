"""The client's limit on generated tokens, in the fields in which it is set. Pure."""

from __future__ import annotations

from router.types import ChatCall

TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")


def with_token_limit(call: ChatCall, limit: int) -> ChatCall:
    """Return the call with another token limit, in the fields in which the client has set one."""
    return call.replaced({name: limit for name in TOKEN_LIMITS if call.body.get(name) is not None})
