"""Confidence features of an answer, computed from the logprobs of its tokens. Pure.

In a structured answer, only the tokens of values count. The constraint determines braces, keys and commas, so they are
nearly certain in right and in wrong answers alike. All JSON in the answer is read: the name of a tool call counts as
its arguments do. An answer with several choices (`n`, several prompts) has the confidence of its weakest choice.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, chain
from math import exp, isfinite, log
from typing import Annotated

from msgspec import Meta, Struct, field

from router.decision import Confidence

MIN_LOGPROB = -100.0
"""lower logprobs are raised to this: engines write -9999 or less for tokens that their masks forbid"""
LOW_QUANTILE = 0.1
NUMBER_ENDS = frozenset(b" \t\r\n,]}")
"""characters that end a number; the end is part of the value, as for strings ("Pa" is not "Paris")"""
ARRAY, IN_OBJECT = ord("["), -1
MAX_DEPTH = 64
"""deeper JSON is read as if it began there: otherwise the pointers of a hostile answer would grow with the square of
its length"""

_QUOTED = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_STEP = re.compile(
    rb'[\s,]*+(?:"(?P<key>' + _QUOTED + rb')"\s*+:\s*+)?'
    rb'(?:"(?P<string>' + _QUOTED + rb'"?)|(?P<number>-?\d[-+.\deE]*)|(?P<word>true|false|null)|(?P<open>[\[{]))'
    rb"|[\s,]*+(?:(?P<close>[\]}])|(?P<other>.|\Z))",
    re.DOTALL,
)
_OPEN = re.compile(rb"[\[{]")

Byte = Annotated[int, Meta(ge=0, le=255)]
Logprob = Annotated[float, Meta(le=0.01)]
"""a larger value is not a rounding error, so the logprobs of such an answer are ignored"""


class Alternative(Struct, frozen=True, gc=False):
    """Another token that was possible at the same position."""

    token: str
    logprob: float


class TokenLogprob(Struct, frozen=True, gc=False):
    """One token of an answer, in the format of chat completions."""

    token: str
    logprob: Logprob
    """natural, at most 0"""
    raw: tuple[Byte, ...] | None = field(default=None, name="bytes")
    """its bytes, because a token may be part of a character; None: the bytes of `token`"""
    top_logprobs: tuple[Alternative, ...] = ()
    """the likeliest tokens at this position, as many as were requested; they often include the token itself"""

    @property
    def others(self) -> list[float]:
        """Return the logprobs of the alternatives to this token."""
        return [other.logprob for other in self.top_logprobs if other.token != self.token]


def least_confident(choices: Iterable[Confidence | None]) -> Confidence | None:
    """Return the features of the choice with the lowest score, or None if one is unknown or there is no choice."""
    known = list(choices)
    return None if None in known else min(filter(None, known), key=lambda one: one.total, default=None)


def features(tokens: Sequence[TokenLogprob], *, structured: bool = False) -> Confidence | None:
    """Return the features of one choice, or None if it has no tokens.

    Args:
        tokens: all tokens of the choice, in order.
        structured: the choice is JSON or contains it. Only values count; if there are none (`{}`), all tokens count.
    """
    if not tokens:
        return None
    logprobs = [token.logprob if MIN_LOGPROB < token.logprob < 0 else _clipped(token.logprob) for token in tokens]
    counted: list[int] = []
    fields: dict[str, float] = {}
    for path, positions in _token_ranges(tokens) if structured else ():
        fields[path] = fields.get(path, 0.0) + sum([logprobs[position] for position in positions])
        # a token that ends one value and begins the next belongs to both fields but counts once in the total
        counted += positions if not counted or counted[-1] < positions[0] else positions[1:]
    if counted:
        tokens, logprobs = [tokens[position] for position in counted], [logprobs[position] for position in counted]
    ranked, total = sorted(logprobs), sum(logprobs)
    margin, entropy = _margin_and_entropy(tokens, logprobs)
    return Confidence(
        tokens=len(ranked),
        total=total,
        mean=total / len(ranked),
        low=ranked[int(LOW_QUANTILE * (len(ranked) - 1))],
        least=ranked[0],
        margin=margin,
        entropy=entropy,
        fields=fields,
    )


def _clipped(logprob: float) -> float:
    return min(0.0, max(MIN_LOGPROB, logprob)) if isfinite(logprob) else MIN_LOGPROB


def _margin_and_entropy(tokens: Iterable[TokenLogprob], logprobs: Iterable[float]) -> tuple[float | None, float | None]:
    """Return margin and entropy, or None for both if no alternatives are known."""
    margins, entropies = [], []
    for token, logprob in zip(tokens, logprobs, strict=True):
        if token.top_logprobs and (others := [_clipped(other) for other in token.others]):
            margins.append(logprob - max(others))
            chances = [exp(logprob), *map(exp, others)]
            entropies.append(-sum(chance * log(chance) for chance in (*chances, 1 - sum(chances)) if chance > 0))
    return (min(margins), sum(entropies) / len(entropies)) if margins else (None, None)


def _token_ranges(tokens: Sequence[TokenLogprob]) -> Iterator[tuple[str, range]]:
    """Yield the JSON Pointer of each value and the positions of its tokens."""
    parts = [token.raw or token.token.encode(errors="replace") for token in tokens]
    ends = list(accumulate(map(len, parts)))
    for path, first, last in _values(bytes(chain.from_iterable(parts))):
        position = bisect_right(ends, first)
        yield path, range(position, bisect_left(ends, last, position) + 1)


def _values(text: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield pointer, first byte and end of each string, number, boolean and null in all JSON of the text."""
    start = 0
    while opened := _OPEN.search(text, start):
        start = opened.end()
        path, index = "", _first_index(text, start)  # the innermost container: its pointer and the next index in it
        parents: list[tuple[str, int]] = []
        for step in _STEP.finditer(text, start):
            start, kind = step.end(), step.lastgroup or ""
            if kind == "close":
                if not parents:
                    break
                path, index = parents.pop()
                continue
            key = step["key"]
            if kind == "other" or (index == IN_OBJECT and key is None) or len(parents) == MAX_DEPTH:
                start -= kind == "open"
                break
            pointer = f"{path}/{_pointer_token(key) if index == IN_OBJECT else index}"
            index += index != IN_OBJECT
            if kind == "open":
                parents.append((path, index))
                path, index = pointer, _first_index(text, start)
                continue
            first, last = step.span(kind)
            if kind == "number" and last < len(text) and text[last] in NUMBER_ENDS:
                last += 1
            if first < last:
                yield pointer, first, last


def _first_index(text: bytes, start: int) -> int:
    """Return the index of the first entry after an opening bracket."""
    return 0 if text[start - 1] == ARRAY else IN_OBJECT


def _pointer_token(key: bytes) -> str:
    """Return a key as a reference token of a JSON Pointer."""
    if b"\\" in key:
        with suppress(ValueError):
            key = json.loads(b'"' + key + b'"').encode(errors="replace")
    return key.decode(errors="replace").replace("~", "~0").replace("/", "~1")
