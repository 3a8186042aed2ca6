"""Labelled calls, a JSON object a line as docs/routing.md describes them -> what a router learns from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from router.decision import log_odds
from router.errors import BadData, BadRequest
from router.judge.agreement import Incomparable, agreement
from router.judge.consistency import Vote, score
from router.judge.features import features
from router.judge.logprobs import read_logprobs
from router.learning.evidence import Example
from router.learning.fingerprint import fingerprint
from router.messages.chat import CHAT
from router.messages.choice import Choice, has_call
from router.messages.completions import COMPLETIONS
from router.messages.prompt import rough_tokens, texts
from router.structured.answer.stream_checker import may_be_call
from router.structured.request.output_format import format_fields
from router.types import ChatCall, Endpoint

T = TypeVar("T")
Decode = Callable[[Endpoint, bytes], ChatCall]
"""turns the body of a request to an endpoint into a call; raises BadRequest if a field is wrong"""
Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class CalibrationTerms:
    """What is to be learned: how `small` do beside `fallback` on the calls of `route`."""

    route: str
    small: Sequence[str]
    fallback: str
    """its answers are the standard"""
    samples: int = 0
    """how many answers voted, of which the confidence is the share; 0: it is of logprobs"""
    beginning_tokens: int = 0
    """how many tokens are an answer's beginning; 0: beginnings are not looked at"""


class LabelledCall(NamedTuple):
    """One call, and what each small model's answer to it teaches."""

    held_out: bool
    """nobody learns from it: thresholds that hold are to be found among such calls"""
    prompt_tokens: int
    examples: Mapping[str, Example]
    ignored: frozenset[str]
    """models that answered, too, and are not of the route"""


class _Choice(Choice, frozen=True):
    logprobs: dict[str, Any] | None = None


class _Usage(Struct):
    completion_tokens: Annotated[int, Meta(ge=0)]


class _Answer(Struct, forbid_unknown_fields=True):
    quality: Share | None = None
    choice: dict[str, Any] | None = None
    logprob: Annotated[float, Meta(le=0)] | None = None
    agree: Share | None = None
    usage: _Usage | None = None


class _Line(Struct, forbid_unknown_fields=True):
    request: dict[str, Raw]
    answers: dict[str, Raw]
    task: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


def read(file: Path, terms: CalibrationTerms, decode: Decode) -> Iterator[LabelledCall]:
    """Yield the calls of a file.

    Raises:
        BadData: it cannot be read, or a line is wrong.
    """
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield _labelled(line, terms, decode)
                    except BadData as error:
                        raise BadData(f"{file}:{number}: {error}") from None
    except OSError as error:
        raise BadData(f"{file}: cannot be read: {error.strerror}") from None


def _labelled(raw: bytes, terms: CalibrationTerms, decode: Decode) -> LabelledCall:
    line = _decoded(raw, _Line)
    call = _call(line.request, terms.route, decode)
    answers = {name: _answer(answer, f"answers.{name}") for name, answer in line.answers.items()}
    standard = answers.get(terms.fallback, _Answer())
    task = fingerprint(call, line.task or call.routing.task)
    text = "\n\n".join(texts(call))
    examples = {}
    for name in terms.small:
        if answer := answers.get(name):
            quality = _quality(call, answer, standard, f"answers.{name}.quality")
            examples[name] = _example(task, text, call, answer, standard, quality, terms)
    return LabelledCall(
        held_out=bool(blake2b(msgspec.json.encode(call.body, order="sorted")).digest()[0] % 2),
        prompt_tokens=rough_tokens(call),
        examples=examples,
        ignored=frozenset(answers.keys() - {*terms.small, terms.fallback}),
    )


def _call(request: Mapping[str, Raw], route: str, decode: Decode) -> ChatCall:
    """Return the request as the gateway decodes it, sent to the route."""
    endpoint = COMPLETIONS if "prompt" in request else CHAT
    try:
        return decode(endpoint, msgspec.json.encode({**request, "model": route}))
    except BadRequest as error:
        raise BadData(f"request{'.' if error.param else ''}{error.param or ''}: {error.message}") from None


def _answer(raw: Raw, at: str) -> _Answer:
    answer = _decoded(raw, _Answer, at)
    if answer.choice is not None:
        _checked(lambda: msgspec.convert(answer.choice, _Choice), f"{at}.choice")
    return answer


def _quality(call: ChatCall, answer: _Answer, standard: _Answer, at: str) -> tuple[float, float]:
    """Return the quality of the small model's answer and of the fallback's, which is 1 where nobody graded it."""
    strong = 1.0 if standard.quality is None else standard.quality
    if answer.quality is not None:
        return answer.quality, strong
    if answer.choice is None or standard.choice is None:
        raise BadData(f"{at}: missing; without it the `choice` of this model and of the fallback are compared")
    try:
        return strong * agreement(call.body, answer.choice, standard.choice), strong
    except Incomparable as error:
        raise BadData(f"{at}: missing, and {error}") from None
    except BadRequest as error:
        raise BadData(f"request.{error.param}: {error.message}") from None


def _example(
    task: str,
    text: str,
    call: ChatCall,
    answer: _Answer,
    standard: _Answer,
    quality: tuple[float, float],
    terms: CalibrationTerms,
) -> Example:
    weak, strong = quality
    of_all, of_first = _scores(call, answer, terms)
    return Example(
        task=task,
        text=text,
        weak=weak,
        strong=strong,
        has_confidence=of_all is not None,
        score=of_all,
        first=of_first,
        completion_tokens=None if standard.usage is None else standard.usage.completion_tokens,
    )


def _scores(call: ChatCall, answer: _Answer, terms: CalibrationTerms) -> tuple[float | None, float | None]:
    """Return the log-odds of the answer and of its beginning, as `Gate` would; None where they are not known."""
    if terms.samples:
        return None if answer.agree is None else _of_vote(answer.agree, terms.samples), None
    if answer.logprob is not None:
        return log_odds(answer.logprob), None
    tokens = read_logprobs(answer.choice)
    structured = bool(format_fields(call.body)) or _calls(call, answer)
    early = not structured and len(tokens) >= terms.beginning_tokens
    both = features(tokens, structured=structured), features(tokens[: terms.beginning_tokens]) if early else None
    of_all, of_first = (None if confidence is None else confidence.score for confidence in both)
    return of_all, of_first


def _of_vote(share: float, samples: int) -> float:
    return score(Vote(index=0, votes=round(share * samples), of=samples))


def _calls(call: ChatCall, answer: _Answer) -> bool:
    """Return whether the answer is a call, also one that the model wrote as its text."""
    message = (answer.choice or {}).get("message") or {}
    written = bool(call.body.get("tools")) and bool(message.get("content")) and may_be_call(message["content"])
    return written or has_call(message)


def _decoded(raw: bytes | Raw, kind: type[T], at: str = "") -> T:
    return _checked(lambda: msgspec.json.decode(raw, type=kind), at)


def _checked(decode: Callable[[], T], at: str) -> T:
    try:
        return decode()
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        field = f"{at}{path.rstrip('`')}".lstrip(".")
        raise BadData(f"{field}: {what}" if field else what) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadData(f"{at or 'the line'}: not JSON: {error}") from None
