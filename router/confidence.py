"""How sure was the small model of its own answer? Features of its tokens' logprobs. Pure.

Of a structured answer only the tokens of values count: braces, keys and commas are what the constraint demands, and
nearly certain in right and in wrong answers alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, expm1, isfinite, log
from typing import NamedTuple

LOWEST = -100.0
"""engines write -9999 or worse for what their masks forbid; nothing is less likely than this"""
SUREST = -1e-6
"""a logprob of 0 is a rounded one"""
LOW_QUANTILE = 0.1
MOST_NEGATIVE = -1e300
ENDS = (b" ", b"\t", b"\r", b"\n", b",", b"]", b"}")

# the inside of a string, and the quote that ends it: ending there is a part of the value ("Pa" is not "Paris")
_STRING = rb'"(?P<string>[^"\\]*(?:\\.[^"\\]*)*"?)'
# a number, and the character that ends it, for the same reason
_NUMBER = rb"(?P<number>-?\d[-+.\deE]*[ \t\r\n,\]}]?)"
_JSON = re.compile(
    rb"\s*(?:" + _STRING + rb"|" + _NUMBER + rb"|(?P<word>true|false|null)|(?P<mark>[\[\]{},:]))", re.DOTALL
)
_OPEN = re.compile(rb"[\[{]")


class TokenLogprob(NamedTuple):
    """One token of an answer."""

    text: bytes
    """a token may be a part of a character"""
    logprob: float
    """natural, at most 0"""
    others: tuple[float, ...] = ()
    """logprobs of the likeliest other tokens in its place, as many as were asked for"""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Features of an answer; logprobs are natural. With several tokens, the weakest tell more than the average."""

    tokens: int
    """how many count"""
    total: float
    """of the whole answer: the sum"""
    mean: float
    low: float
    """the tenth that is least likely begins here (the quantile's lower end)"""
    least: float
    margin: float | None = None
    """the least lead of a token over the best other, below 0 where it was not the likeliest; None: none are known"""
    entropy: float | None = None
    """mean over the tokens, nats; what is not among the known ones counts as one more token, so it is a lower bound"""
    fields: Mapping[str, float] = field(default_factory=dict)
    """of a structured answer: JSON Pointer of each value -> sum of its tokens' logprobs"""

    @property
    def score(self) -> float:
        """Return what calibration takes: the log-odds of the whole answer."""
        return log_odds(self.total)


def log_odds(logprob: float) -> float:
    """Return log(p / (1 - p)) of p = exp(logprob): near 1, where most answers lie, it tells them apart."""
    at = min(max(logprob, LOWEST), SUREST)
    return at - log(-expm1(at))


def features(tokens: Sequence[TokenLogprob], text: str = "", *, structured: bool = False) -> Confidence | None:
    """Return the features of an answer; None where there are no tokens.

    Args:
        tokens: all of the answer, in order.
        text: a tool call's arguments, where they are a part of the answer; empty: the first JSON in it.
        structured: the answer is JSON, or holds it: only values count, and where there are none (`{}`), all tokens.
    """
    fields = _by_field(tokens, text.encode(errors="replace")) if structured else {}
    places = sorted({place for of in fields.values() for place in of}) or range(len(tokens))
    counted = [tokens[place] for place in places]
    if not counted:
        return None
    logprobs = sorted(_clipped(token.logprob) for token in counted)
    known = [token for token in counted if token.others]
    return Confidence(
        tokens=len(counted),
        total=sum(logprobs),
        mean=sum(logprobs) / len(counted),
        low=logprobs[int(LOW_QUANTILE * (len(counted) - 1))],
        least=logprobs[0],
        margin=min((_clipped(one.logprob) - _clipped(max(one.others)) for one in known), default=None),
        entropy=sum(map(_entropy, known)) / len(known) if known else None,
        fields={path: sum(_clipped(tokens[place].logprob) for place in of) for path, of in fields.items()},
    )


def read_logprobs(choice: object) -> tuple[TokenLogprob, ...]:
    """Return the tokens of one choice of a chat's or a completion's answer; empty where it does not tell them."""
    said = choice.get("logprobs") if isinstance(choice, Mapping) else None
    if not isinstance(said, Mapping):
        return ()
    content = said.get("content")
    return tuple(_of_chat(content) if isinstance(content, list) else _of_completion(said))


def _of_chat(content: Iterable[object]) -> Iterator[TokenLogprob]:
    for one in content:
        if isinstance(one, Mapping) and (logprob := _number(one.get("logprob"))) is not None:
            top = one.get("top_logprobs")
            others = top if isinstance(top, list) else []
            yield TokenLogprob(
                _token(one),
                logprob,
                tuple(
                    other
                    for entry in others
                    if isinstance(entry, Mapping)
                    and _token(entry) != _token(one)
                    and (other := _number(entry.get("logprob"))) is not None
                ),
            )


def _of_completion(said: Mapping[str, object]) -> Iterator[TokenLogprob]:
    texts, logprobs, tops = (said.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    if not isinstance(texts, list) or not isinstance(logprobs, list):
        return
    alternatives = tops if isinstance(tops, list) and len(tops) == len(texts) else [None] * len(texts)
    for text, value, top in zip(texts, logprobs, alternatives, strict=False):
        if (logprob := _number(value)) is not None:
            others = top.items() if isinstance(top, Mapping) else ()
            found = (_number(other) for name, other in others if name != text)
            yield TokenLogprob(str(text).encode(errors="replace"), logprob, tuple(n for n in found if n is not None))


def _token(entry: Mapping[str, object]) -> bytes:
    raw = entry.get("bytes")
    if isinstance(raw, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in raw):
        return bytes(raw)
    return str(entry.get("token", "")).encode(errors="replace")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= -MOST_NEGATIVE else MOST_NEGATIVE


def _clipped(logprob: float) -> float:
    return min(0.0, max(LOWEST, logprob)) if isfinite(logprob) else LOWEST


def _entropy(token: TokenLogprob) -> float:
    chances = [exp(_clipped(logprob)) for logprob in (token.logprob, *token.others)]
    chances.append(1 - sum(chances))
    return -sum(chance * log(chance) for chance in chances if chance > 0)


def _by_field(tokens: Sequence[TokenLogprob], text: bytes) -> dict[str, list[int]]:
    """Return the places of the tokens of each value; one that ends a value and begins another belongs to both."""
    answer = b"".join(token.text for token in tokens)
    start, stop = 0, len(answer)
    if text and (at := answer.find(text)) >= 0:  # else it is not as the model wrote it: parsers rewrite arguments
        start, stop = at, at + len(text)
    found: dict[str, list[int]] = {}
    place, end = -1, 0
    for path, first, last in _values(answer, start, stop):
        while end <= first:
            place += 1
            end += len(tokens[place].text)
        of = found.setdefault(path, [])
        of.append(place)
        while end < last:
            place += 1
            end += len(tokens[place].text)
            of.append(place)
    return found


def _values(text: bytes, start: int, stop: int) -> Iterator[tuple[str, int, int]]:
    """Yield pointer, first byte and end of each string, number, boolean and null in all JSON that the text holds."""
    while opened := _OPEN.search(text, start, stop):
        start = opened.start()
        path: list[str | int] = []
        """a step for each open object (its key; empty until there is one) and array (the index)"""
        key = False
        """what comes next is a key"""
        while match := _JSON.match(text, start, stop):
            start = match.end()
            mark = match["mark"]
            if mark in (b"{", b"["):
                path.append("" if mark == b"{" else 0)
                key = mark == b"{"
            elif mark in (b"}", b"]"):
                del path[-1]
                key = False
            elif mark == b",":
                step = path[-1]
                key = isinstance(step, str)
                path[-1] = "" if isinstance(step, str) else step + 1
            elif mark is None and key:
                path[-1], key = _key(match["string"]), False
            elif mark is None:
                kind = match.lastgroup or ""
                # the character that ends a number is also what comes after it
                start -= kind == "number" and match[kind][-1:] in ENDS
                if match.start(kind) < match.end(kind):
                    yield "".join(f"/{_escaped(step)}" for step in path), match.start(kind), match.end(kind)
            if not path:
                break


def _key(string: bytes | None) -> str:
    try:
        return str(json.loads(b'"' + (string or b'"')))
    except ValueError:
        return (string or b"").decode(errors="replace")


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")
