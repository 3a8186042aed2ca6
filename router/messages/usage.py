"""Reads the token counts of an answer, in the forms that upstreams write them. Pure.

Clients see the upstream's `usage` as it came; what is read here is what is paid.

| form | cached tokens |
|---|---|
| OpenAI | `prompt_tokens_details.cached_tokens` |
| Responses API | `input_tokens`, `output_tokens`, `input_tokens_details.cached_tokens` |
| Anthropic | `cache_read_input_tokens`; its `input_tokens` do not contain them |
| DeepSeek | `prompt_cache_hit_tokens` |
| Moonshot, and others | `cached_tokens` |
| Gemini | `promptTokenCount`, `candidatesTokenCount`, `thoughtsTokenCount`, `cachedContentTokenCount` |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.types import MAX_TOKEN_COUNT, Usage

_CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
_CACHED_NAMES = frozenset(_CACHED)


def read_usage(usage: object) -> Usage | None:
    """Return the token counts of a `usage` object, or None if it is missing or invalid.

    Tokens that only the total contains are paid as completion: thoughts that the upstream does not count there. If
    they are just the cached tokens, they belong to the prompt.
    """
    if not isinstance(usage, dict):
        return None
    prompt = _count(usage.get("prompt_tokens"))
    if prompt is None:
        return _read_other_form(usage)
    completion = _count(usage.get("completion_tokens")) or 0
    cached = _of_details(usage.get("prompt_tokens_details"))
    if not (cached or _CACHED_NAMES.isdisjoint(usage)):
        cached = _first(usage, _CACHED)
    total = usage.get("total_tokens")
    if total != prompt + completion and (more := (_count(total) or 0) - prompt - completion) > 0:
        apart = _count(usage.get("cache_read_input_tokens"))
        if apart is not None and more in (apart, apart + (_count(usage.get("cache_creation_input_tokens")) or 0)):
            prompt += more
        else:
            completion += more
    return Usage(prompt, cached, completion)


def _read_other_form(usage: Mapping[str, Any]) -> Usage | None:
    if (prompt := _count(usage.get("input_tokens"))) is not None:
        apart, written = _first(usage, ("cache_read_input_tokens",)), _first(usage, ("cache_creation_input_tokens",))
        cached = _of_details(usage.get("input_tokens_details")) or apart
        return Usage(prompt + apart + written, cached, _first(usage, ("output_tokens",)))
    if (prompt := _count(usage.get("promptTokenCount"))) is not None:
        completion = _first(usage, ("candidatesTokenCount",)) + _first(usage, ("thoughtsTokenCount",))
        return Usage(prompt, _first(usage, ("cachedContentTokenCount",)), completion)
    return None


def _of_details(details: object) -> int:
    return (_count(details.get("cached_tokens")) or 0) if isinstance(details, dict) else 0


def _first(usage: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """Return the first of these counts, or 0 if there is none."""
    for name in names:
        if name in usage and (count := _count(usage[name])) is not None:
            return count
    return 0


def _count(value: object) -> int | None:
    """Return a token count, or None if the value cannot be one: an upstream can send anything."""
    return value if type(value) is int and 0 <= value < MAX_TOKEN_COUNT else None
