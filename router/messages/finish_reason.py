"""The reason why an answer ended, in OpenAI's words. Pure.

Servers write their own words, in any case: Anthropic's `end_turn`, Gemini's `MAX_TOKENS`, `eos_token` of TGI. Clients
know five, and some refuse to read an answer with another one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from router.errors import UpstreamFailed
from router.messages.choice import has_tool_call

FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
REPETITION = "repetition"
"""vLLM stopped the answer because it repeats itself: clients do not get this word"""
FAILED = frozenset(
    {
        "abort",
        "aborted",
        "cancel",
        "canceled",
        "cancelled",
        "error",
        "failed",
        "insufficient_system_resource",  # DeepSeek
        "malformed_function_call",  # Gemini
        "malformed_model_output",  # Bedrock
        "malformed_tool_use",
        "network_error",  # GLM
        "timeout",
        "unexpected_tool_call",
    }
)
"""the upstream gave up: what there is of the answer is no answer"""
_OTHER_WORDS: Mapping[str, str] = {
    "length_limit": "length",
    "max_length": "length",
    "max_new_tokens": "length",
    "max_output_tokens": "length",
    "max_tokens": "length",
    "max_tokens_exceeded": "length",
    "model_context_window_exceeded": "length",
    "model_length": "length",
    "token_limit": "length",
    "function": "function_call",
    "tool": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "blocklist": "content_filter",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "guardrails": "content_filter",
    "image_safety": "content_filter",
    "prohibited_content": "content_filter",
    "recitation": "content_filter",
    "refusal": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "spii": "content_filter",
}

_FAILED_PARTS = re.compile(r"error|abort|exception|fail(?:ed|ure)")
_PARTS = (
    (re.compile(r"length|limit|max_tokens|truncated"), "length"),
    (re.compile(r"filter|safety|moderat|guardrail"), "content_filter"),
)
"""what words that nobody has listed mean, by a part of them"""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def is_known(reason: object) -> bool:
    """Return whether this is one of OpenAI's reasons, letter for letter."""
    return isinstance(reason, str) and reason in FINISH_REASONS


def finish_reason(reason: object, *, has_calls: bool, is_legacy: bool = False) -> str:
    """Return OpenAI's word for an upstream's `finish_reason`, which is not empty; REPETITION stays.

    An unknown word means `stop`, or `tool_calls` if the answer has calls (`is_legacy`: `function_call`): the answer
    has ended, and nothing says that it is bad.

    Raises:
        UpstreamFailed: the upstream gave up.
    """
    word = _plain(reason)
    if word in FAILED or _FAILED_PARTS.search(word):
        raise UpstreamFailed("the upstream aborted its answer")
    if word in FINISH_REASONS - {"stop"} or word == REPETITION:
        return word
    known = _OTHER_WORDS.get(word) or next((ours for part, ours in _PARTS if part.search(word)), None)
    if known in (None, "tool_calls", "function_call") and has_calls:
        return "function_call" if is_legacy else "tool_calls"
    return known or "stop"


def reason_of_choice(choice: Mapping[str, Any]) -> str:
    """Return OpenAI's word for the `finish_reason` of a whole choice.

    Raises:
        UpstreamFailed: the upstream gave up.
    """
    reason, message = choice["finish_reason"], choice.get("message")
    if is_known(reason) and reason != "stop":
        return str(reason)
    is_legacy = isinstance(message, Mapping) and not message.get("tool_calls")
    return finish_reason(reason, has_calls=has_tool_call(message), is_legacy=is_legacy)


def _plain(reason: object) -> str:
    return (
        _CAMEL.sub("_", str(reason))
        .strip()
        .casefold()
        .replace("-", "_")
        .replace(" ", "_")
        .removeprefix("finish_reason_")
    )
