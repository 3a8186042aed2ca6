"""How sure was the small model of its own answer? Features of its tokens' logprobs. Pure.

Of a structured answer only the tokens of values count: braces, keys and commas are what the constraint demands, and
nearly certain in right and in wrong answers alike. All JSON that the answer holds is looked at: of a tool call the name
counts as the arguments do. An answer of several choices (`n`, several prompts) is as sure as its least sure one.
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
"""engines write -9999 or worse for what their masks forbid; nothing is less likely than this"""
LOW_QUANTILE = 0.1
ENDS = frozenset(b" \t\r\n,]}")
"""what a number ends with; ending there is a part of the value, as it is of a string's ("Pa" is not "Paris")"""
ARRAY, IN_OBJECT = ord("["), -1
MAX_DEPTH = 64
"""what is nested deeper is read as if it began there: pointers must not grow with the square of a hostile answer"""

_INSIDE = rb'[^"\\]*+(?:\\.[^"\\]*+)*+'
_STEP = re.compile(
    rb'[\s,]*+(?:"(?P<key>' + _INSIDE + rb')"\s*+:\s*+)?'
    rb'(?:"(?P<string>' + _INSIDE + rb'"?)|(?P<number>-?\d[-+.\deE]*)|(?P<word>true|false|null)|(?P<open>[\[{]))'
    rb"|[\s,]*+(?:(?P<close>[\]}])|(?P<other>.|\Z))",
    re.DOTALL,
)
_OPEN = re.compile(rb"[\[{]")

Byte = Annotated[int, Meta(ge=0, le=255)]
Logprob = Annotated[float, Meta(le=0.01)]
"""more is no rounding: an upstream that tells something else is not understood"""


class Alternative(Struct, frozen=True, gc=False):
    """Another token that could have stood in a token's place."""

    token: str
    logprob: float


class TokenLogprob(Struct, frozen=True, gc=False):
    """One token of an answer, in the form in which chat answers tell it."""

    token: str
    logprob: Logprob
    """natural, at most 0"""
    raw: tuple[Byte, ...] | None = field(default=None, name="bytes")
    """a token may be a part of a character, and `token` is no text then; None: what `token` says"""
    top_logprobs: tuple[Alternative, ...] = ()
    """the likeliest tokens in its place, often itself among them, as many as were asked for"""

    @property
    def others(self) -> list[float]:
        """Return the logprobs of those that are not itself."""
        return [other.logprob for other in self.top_logprobs if other.token != self.token]


def least_confident(choices: Iterable[Confidence | None]) -> Confidence | None:
    """Return the features of the choice with the lowest score; None where one is unknown, or none is there."""
    known = list(choices)
    return None if None in known else min(filter(None, known), key=lambda one: one.total, default=None)


def features(tokens: Sequence[TokenLogprob], *, structured: bool = False) -> Confidence | None:
    """Return the features of one choice; None where there are no tokens.

    Args:
        tokens: all of it, in order.
        structured: it is JSON, or holds it: only values count, and where there are none (`{}`), all tokens.
    """
    if not tokens:
        return None
    logprobs = [token.logprob if MIN_LOGPROB < token.logprob < 0 else _clipped(token.logprob) for token in tokens]
    counted: list[int] = []
    fields: dict[str, float] = {}
    for path, places in _by_field(tokens) if structured else ():
        fields[path] = fields.get(path, 0.0) + sum([logprobs[place] for place in places])
        # one that ends a value and begins another counts for both, and once in all
        counted += places if not counted or counted[-1] < places[0] else places[1:]
    if counted:
        tokens, logprobs = [tokens[place] for place in counted], [logprobs[place] for place in counted]
    ranked, total = sorted(logprobs), sum(logprobs)
    margin, entropy = _beside_others(tokens, logprobs)
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


def _beside_others(tokens: Iterable[TokenLogprob], logprobs: Iterable[float]) -> tuple[float | None, float | None]:
    """Return margin and entropy, where others than the tokens themselves are known."""
    margins, entropies = [], []
    for token, logprob in zip(tokens, logprobs, strict=True):
        if token.top_logprobs and (others := [_clipped(other) for other in token.others]):
            margins.append(logprob - max(others))
            chances = [exp(logprob), *map(exp, others)]
            entropies.append(-sum(chance * log(chance) for chance in (*chances, 1 - sum(chances)) if chance > 0))
    return (min(margins), sum(entropies) / len(entropies)) if margins else (None, None)


def _by_field(tokens: Sequence[TokenLogprob]) -> Iterator[tuple[str, range]]:
    """Yield the pointer of each value, and the places of its tokens."""
    parts = [token.raw or token.token.encode(errors="replace") for token in tokens]
    ends = list(accumulate(map(len, parts)))
    for path, first, last in _values(bytes(chain.from_iterable(parts))):
        place = bisect_right(ends, first)
        yield path, range(place, bisect_left(ends, last, place) + 1)


def _values(text: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield pointer, first byte and end of each string, number, boolean and null in all JSON that the text holds."""
    start = 0
    while opened := _OPEN.search(text, start):
        start = opened.end()
        path, index = "", _first_index(text, start)  # of the innermost container: its pointer, what comes next in it
        around: list[tuple[str, int]] = []
        for step in _STEP.finditer(text, start):
            start, kind = step.end(), step.lastgroup or ""
            if kind == "close":
                if not around:
                    break
                path, index = around.pop()
                continue
            key = step["key"]
            if kind == "other" or (index == IN_OBJECT and key is None) or len(around) == MAX_DEPTH:
                start -= kind == "open"
                break
            at = f"{path}/{_step(key) if index == IN_OBJECT else index}"
            index += index != IN_OBJECT
            if kind == "open":
                around.append((path, index))
                path, index = at, _first_index(text, start)
                continue
            first, last = step.span(kind)
            if kind == "number" and last < len(text) and text[last] in ENDS:
                last += 1
            if first < last:
                yield at, first, last


def _first_index(text: bytes, start: int) -> int:
    """Return the index of what comes first behind a bracket."""
    return 0 if text[start - 1] == ARRAY else IN_OBJECT


def _step(key: bytes) -> str:
    """Return a key as a step of a JSON Pointer."""
    if b"\\" in key:
        with suppress(ValueError):
            key = json.loads(b'"' + key + b'"').encode(errors="replace")
    return key.decode(errors="replace").replace("~", "~0").replace("/", "~1")
