"""How many tokens an answer may have: the client's limit is clamped to the room that the context leaves. Pure.

Clients set `max_tokens` as a safety cap, far above what they need. An engine refuses a limit that does not fit beside
the prompt, although the answer would.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from router.errors import UpstreamRejected
from router.messages.prompt import CHARACTERS_PER_TOKEN, rough_tokens
from router.profile.refusal import words_of
from router.types import ChatCall

MIN_ROOM = 16
"""less room is none: the prompt itself is too long"""
TEMPLATE_TOKENS = 16
"""what a chat template adds at least"""
SPARE_TOKENS = 48
"""kept free beside a clamped limit: some templates add a system message, and the estimate is rough"""
_CONTEXT = re.compile(
    r"(?:context (?:length|window|size)|max_model_len|n_ctx|max(?:imum)? (?:sequence )?length)\D{0,40}?(\d+)",
    re.IGNORECASE,
)
_PROMPT = (
    re.compile(r"(\d+)(?: \w+)? tokens? (?:in|from|for) (?:the |your )?(?:input|messages?|prompt)", re.IGNORECASE),
    re.compile(r"\b(\d+) (?:in (?:the |your )?(?:messages|prompt)|(?:input|prompt) tokens)", re.IGNORECASE),
    re.compile(r"(?:prompt|input|request|messages?)\b[^.;\d]{0,40}?(\d+) (?:input |prompt )?tokens", re.IGNORECASE),
    re.compile(r"\d+ > \d+ - (\d+)"),
)


class Told(NamedTuple):
    """The numbers of a refusal, in tokens; None: it does not have them."""

    context: int | None
    prompt: int | None


def told(error: UpstreamRejected) -> Told:
    """Return the size of the context and of the prompt, as far as a refusal has them."""
    message, _ = words_of(error)
    context, prompt = error.error.get("n_ctx"), error.error.get("n_prompt_tokens")  # llama.cpp
    if type(context) is int and type(prompt) is int:
        return Told(context, prompt)
    found = _CONTEXT.search(message)
    sizes = [int(match[1]) for pattern in _PROMPT if (match := pattern.search(message))]
    return Told(int(found[1]) if found else None, sizes[0] if sizes else None)


def room(call: ChatCall, context: int | None) -> int | None:
    """Return the limit to ask with instead of the client's, or None if the client's fits, probably."""
    if (
        context is None or not (wanted := call.max_tokens) or wanted + call.size <= context
    ):  # no text has more tokens than bytes
        return None
    tools = len(bytes(call.fields.get("tools", b""))) // CHARACTERS_PER_TOKEN
    left = context - rough_tokens(call) - tools - TEMPLATE_TOKENS
    if left >= wanted:
        return None
    left -= SPARE_TOKENS
    return left if left >= MIN_ROOM else None


def room_after(error: UpstreamRejected, call: ChatCall) -> int | None:
    """Return the limit that fits according to a refusal, or None if the prompt leaves no room, or it does not say."""
    context, prompt = told(error)
    if context is None or prompt is None or not call.max_tokens:
        return None
    left = context - prompt
    return left if MIN_ROOM <= left < call.max_tokens else None
