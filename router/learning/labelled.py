"""Reads labelled calls, one JSON object a line (see docs/routing.md), as examples to learn from."""

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
from router.messages.choice import Choice, has_tool_call
from router.messages.completions import COMPLETIONS
from router.messages.prompt import rough_tokens, texts
from router.structured.answer.text_calls.parse import may_become_calls
from router.structured.constraint import Tool
from router.structured.request.output_format import format_fields
from router.types import ChatCall, Endpoint

T = TypeVar("T")
Decode = Callable[[Endpoint, bytes], ChatCall]
"""turns the body of a request to an endpoint into a call; raises BadRequest if a field is wrong"""
Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class CalibrationTerms:
    """What to learn: the quality of the `small` models against `fallback` on calls of `route`."""

    route: str
    small: Sequence[str]
    fallback: str
    """the model that the small ones are compared with"""
    samples: int = 0
    """how many answers vote; 0 if the confidence comes from logprobs"""
    beginning_tokens: int = 0
    """length of an answer's beginning; 0 if beginnings are not used"""


class LabelledCall(NamedTuple):
    """One call, with an example for each small model that answered it."""

    held_out: bool
    """it is not learned from: guaranteed thresholds are computed from such calls"""
    prompt_tokens: int
    examples: Mapping[str, Example]
    ignored: frozenset[str]
    """models that answered but are not on the route"""


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


class _Reference(NamedTuple):
    """A call and the fallback's answer, with which each small model's answer is compared."""

    call: ChatCall
    task: str
    """the fingerprint"""
    text: str
    """the whole prompt"""
    answer: _Answer


class _Line(Struct, forbid_unknown_fields=True):
    request: dict[str, Raw]
    answers: dict[str, Raw]
    task: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


def read(file: Path, terms: CalibrationTerms, decode: Decode) -> Iterator[LabelledCall]:
    """Yield the calls of a file.

    Raises:
        BadData: the file cannot be read, or a line is invalid.
    """
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield _parse_line(line, terms, decode)
                    except BadData as error:
                        raise BadData(f"{file}:{number}: {error}") from None
    except OSError as error:
        raise BadData(f"{file}: cannot be read: {error.strerror}") from None


def _parse_line(raw: bytes, terms: CalibrationTerms, decode: Decode) -> LabelledCall:
    line = _decode_json(raw, _Line)
    call = _decode_request(line.request, terms.route, decode)
    answers = {name: _parse_answer(answer, f"answers.{name}") for name, answer in line.answers.items()}
    reference = _Reference(
        call=call,
        task=fingerprint(call, line.task or call.routing.task),
        text="\n\n".join(texts(call)),
        answer=answers.get(terms.fallback, _Answer()),
    )
    examples = {
        name: _example(reference, answer, f"answers.{name}", terms)
        for name in terms.small
        if (answer := answers.get(name))
    }
    return LabelledCall(
        held_out=bool(blake2b(msgspec.json.encode(call.body, order="sorted")).digest()[0] % 2),
        prompt_tokens=rough_tokens(call),
        examples=examples,
        ignored=frozenset(answers.keys() - {*terms.small, terms.fallback}),
    )


def _decode_request(request: Mapping[str, Raw], route: str, decode: Decode) -> ChatCall:
    """Return the request as the gateway decodes it for the route."""
    endpoint = COMPLETIONS if "prompt" in request else CHAT
    try:
        return decode(endpoint, msgspec.json.encode({**request, "model": route}))
    except BadRequest as error:
        raise BadData(f"request{'.' if error.param else ''}{error.param or ''}: {error.message}") from None


def _parse_answer(raw: Raw, at: str) -> _Answer:
    answer = _decode_json(raw, _Answer, at)
    if answer.choice is not None:
        _check(lambda: msgspec.convert(answer.choice, _Choice), f"{at}.choice")
    return answer


def _quality(call: ChatCall, answer: _Answer, standard: _Answer, at: str) -> tuple[float, float]:
    """Return the quality of the small model's answer and of the fallback's, which is 1 if it is not graded."""
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


def _example(reference: _Reference, answer: _Answer, at: str, terms: CalibrationTerms) -> Example:
    weak, strong = _quality(reference.call, answer, reference.answer, f"{at}.quality")
    whole, beginning = _scores(reference.call, answer, terms)
    usage = reference.answer.usage
    return Example(
        task=reference.task,
        text=reference.text,
        weak=weak,
        strong=strong,
        has_confidence=whole is not None,
        score=whole,
        first=beginning,
        completion_tokens=None if usage is None else usage.completion_tokens,
    )


def _scores(call: ChatCall, answer: _Answer, terms: CalibrationTerms) -> tuple[float | None, float | None]:
    """Return the log-odds of the answer and of its beginning, as the judges compute them, or None if unknown."""
    if terms.samples:
        return None if answer.agree is None else _vote_score(answer.agree, terms.samples), None
    if answer.logprob is not None:
        return log_odds(answer.logprob), None
    tokens = read_logprobs(answer.choice)
    structured = bool(format_fields(call.body)) or _is_call(call, answer)
    early = not structured and len(tokens) >= terms.beginning_tokens
    both = features(tokens, structured=structured), features(tokens[: terms.beginning_tokens]) if early else None
    whole, beginning = (None if confidence is None else confidence.score for confidence in both)
    return whole, beginning


def _vote_score(share: float, samples: int) -> float:
    return score(Vote(index=0, votes=round(share * samples), total=samples))


def _is_call(call: ChatCall, answer: _Answer) -> bool:
    """Return whether the answer is a tool call, including one written as text."""
    message = (answer.choice or {}).get("message") or {}
    tools = {tool["function"]["name"]: Tool(tool["function"]["name"]) for tool in call.body.get("tools") or ()}
    written = bool(tools) and bool(message.get("content")) and may_become_calls(tools, message["content"])
    return written or has_tool_call(message)


def _decode_json(raw: bytes | Raw, kind: type[T], at: str = "") -> T:
    return _check(lambda: msgspec.json.decode(raw, type=kind), at)


def _check(decode: Callable[[], T], at: str) -> T:
    try:
        return decode()
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        field = f"{at}{path.rstrip('`')}".lstrip(".")
        raise BadData(f"{field}: {what}" if field else what) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadData(f"{at or 'the line'}: not JSON: {error}") from None
