"""The output contract: the format that one request's answer must have, and how each attempt is held to it.

It keeps what a request's attempts have taught (`RetryHints`), and returns everything else to the dispatch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import is_
from typing import Any, NamedTuple

from msgspec import structs

from router.config.models import Model
from router.errors import AnswerTruncated, ApiError, Runaway, StructuredOutputViolation, UpstreamRejected
from router.messages.answer import is_runaway
from router.messages.assembled import as_assembled
from router.messages.token_limit import with_token_limit
from router.structured.answer.assemble import endpoint_fields
from router.structured.answer.check import check_choice
from router.structured.answer.runaway import ends_in_numbers, until_repetition
from router.structured.answer.stream_checker import Mode, StreamChecker
from router.structured.constraint import Constraint
from router.structured.engine.constrained_call import (
    ROOM_FACTOR,
    FormatDialect,
    Intent,
    RetryHints,
    Target,
    as_calls,
    as_text,
    constrain,
    intent_of,
)
from router.structured.engine.enforcement import enforcement_of
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import ChatCall, ConstraintKind, Enforcement, FormatHistory, Usage, VerdictWord

Choices = Sequence[Mapping[str, Any]]
Verify = Callable[[Choices, Usage | None], Awaitable[Choices | None]]
"""takes an answer's choices; returns what may leave instead, or None; raises StructuredOutputViolation"""
NO_HINTS = RetryHints()
LONG_ANSWER_TOKENS = 1024
"""a whole answer with a smaller limit is neither stopped nor watched: it soon ends anyway"""
REPETITION_TOKENS = 512
"""an engine stops a whole answer that has repeated itself this long: it can be asked again"""
STREAMED_REPETITION_TOKENS = 1024
"""the same for a stream, whose beginning was perhaps sent, and which we watch, too"""
MAX_RUNAWAY_QUOTE_CHARS = 200
"""how much of an endless answer the correction quotes: a model goes on with what its prompt repeats"""
_VIOLATIONS: Mapping[ConstraintKind, str] = {
    "tools": "is not a valid tool call",
    "json_object": "is not a JSON object",
    "json_schema": "does not match the requested JSON schema",
    "regex": "does not match the requested regular expression",
    "choice": "is none of the requested choices",
    "grammar": "does not match the requested grammar",
    "structural_tag": "does not match the requested structural tag",
}


class StreamPlan(NamedTuple):
    """How a stream is checked."""

    checker: StreamChecker
    is_enforced: bool
    """decoding enforces the whole format, so the stream may flow"""
    is_free: bool
    """plain text is allowed, so nothing can be said of a format before the end"""


class Checked(NamedTuple):
    """What the check of an answer found."""

    choices: Choices | None
    """what may leave instead; None: the choices may leave unchanged"""
    verdicts: Sequence[tuple[ConstraintKind, VerdictWord]]
    """of the choices up to the first one that may not leave"""
    error: StructuredOutputViolation | None = None
    """why the answer may not leave"""


class OutputContract:
    """One request's constraint. Before an attempt: `adapt`, and `plan_stream`; after it: `check`, or `note_failure`."""

    def __init__(self, constraint: Constraint, call: ChatCall, workers: GrammarWorkers) -> None:
        self._constraint = constraint
        self._call = self._adapted = _as_read(call, constraint)
        self._workers = workers
        self._hints = NO_HINTS
        self._enforcement: Enforcement = "none"
        self._asked = constraint
        self._intent: Intent | None = None
        self._may_repeat = False

    @property
    def is_free(self) -> bool:
        """Return whether any text will do: calls may be made, need not be, and no format is asked for."""
        return _is_free(self._constraint)

    @property
    def refused(self) -> bool:
        """Return whether the model that is asked now has refused the constraint in its engine's fields."""
        return self._hints.refused

    async def adapt(
        self, model: Model, dialect: FormatDialect, *, limit: int | None = None, refused: bool = False
    ) -> ChatCall:
        """Return the call as this model is to be asked, in the dialect of its engine.

        `limit`: of tokens, if it is another one than the client's.
        `refused`: its engine is known to refuse the constraint, so the prompt alone describes it.
        """
        hints = replace(self._hints, refused=True) if refused else self._hints
        if model.backend is None:
            hints = replace(hints, intent=None)
        self._asked = hints.intent.constraint if hints.intent else self._constraint
        self._enforcement = "none" if hints.refused else await enforcement_of(self._asked, model, self._workers)
        call = self._call if limit is None else with_token_limit(self._call, limit)
        self._adapted = constrain(call, self._constraint, Target(model, dialect, self._enforcement), hints)
        self._intent, self._may_repeat = None, False
        return self._adapted

    def stop_early(self, asked: ChatCall, model: Model, dialect: FormatDialect) -> ChatCall:
        """Return the call so that its answer is stopped if it repeats itself without end. The last change to it.

        The engine stops it if it can. We watch a stream, too. For a whole answer of a small model that its engine does
        not stop, we ask for a stream. That costs us more time, so it is not done for large models: they seldom repeat
        themselves.
        """
        limit = asked.max_tokens
        if _is_free(self._asked) or (limit is not None and limit <= LONG_ANSWER_TOKENS):
            return asked
        tokens = STREAMED_REPETITION_TOKENS if asked.stream else REPETITION_TOKENS
        if (fields := dialect.repetition_fields(tokens)) and not self._hints.may_repeat:
            ours = {name: value for name, value in fields.items() if asked.body.get(name) is None}
            return asked.replaced(ours) if ours else asked
        if asked.stream:
            return asked
        if (model.tier == "slm" or self._hints.may_repeat) and dialect.can_stream(asked):
            return as_assembled(asked)
        return asked

    def watch(self, model: Model) -> StreamChecker:
        """Return what stops the stream of a whole answer if it does not end."""
        return StreamChecker(self._asked, "hold", partial(_violation, model))

    def plan_stream(self, model: Model) -> StreamPlan:
        """Return how the answer's stream is checked."""
        mode = self._mode()
        checker = StreamChecker(self._asked, mode, partial(_violation, model))
        return StreamPlan(checker, mode == "check" and self._enforcement == "whole", mode == "talk")

    def _mode(self) -> Mode:
        routing = self._call.routing
        if routing.on_truncation == "retry":
            return "hold"
        if _is_free(self._asked):
            return "talk"
        if routing.stream_check is None:
            return "check" if self._enforcement == "whole" else "hold"
        return "check" if routing.stream_check == "prefix" else "hold"

    async def check(self, choices: Choices, usage: Usage | None, model: Model, *, last: bool) -> Checked:
        """Check every choice of an answer.

        `last`: no other model can be asked, so a truncated answer is better than none.
        """
        at_limit = self._at_limit(model, usage)
        checked, verdicts = list[Mapping[str, Any]](), list[tuple[ConstraintKind, VerdictWord]]()
        for choice in (endpoint_fields(choice, self._call.endpoint) for choice in choices):
            verdict, may_leave = await check_choice(self._constraint, choice, self._workers, at_limit=at_limit)
            is_endless = is_runaway(choice)
            if is_endless and verdict.word != "invalid" and (not _is_free(self._constraint) or as_calls(may_leave)):
                may_leave = {
                    **may_leave,
                    "finish_reason": "tool_calls" if as_calls(may_leave) else "stop",
                }  # it is whole
            checked.append(may_leave)
            if verdict.word != "invalid" and _is_free(self._constraint) and not as_calls(may_leave):
                continue  # plain text instead of a call
            if verdict.word == "invalid":
                self._intent = intent_of(self._constraint, choice, verdict.kind)
                fault = f"at '{verdict.path or '/'}': {verdict.message}"
                if is_endless:
                    fault = "the output does not end: endless repetition"
                    self._may_repeat = ends_in_numbers(as_text(choice))
                return Checked(None, verdicts, _violation(model, verdict.kind, fault, choice, is_endless))
            verdicts.append((verdict.kind, verdict.word))
            if verdict.word == "truncated" and self._call.routing.on_truncation == "retry" and not last:
                return Checked(None, verdicts, self._truncated(model))
        return Checked(None if all(map(is_, choices, checked)) else checked, verdicts)

    def note_failure(self, error: ApiError, *, other_model: bool) -> None:
        """Learn from a failed attempt; `other_model`: another model, which made no mistake yet, is asked next."""
        hints = replace(NO_HINTS, room=self._hints.room) if other_model else self._hints
        match error:
            case AnswerTruncated():
                hints = replace(hints, room=hints.room * ROOM_FACTOR)
            case Runaway() if self._may_repeat and not other_model:
                hints = replace(hints, may_repeat=True)  # asked again the same, and watched: it may yet end
            case StructuredOutputViolation() if not other_model:
                hints = replace(hints, wrong=error, intent=self._intent)
            case UpstreamRejected(code="unsupported_schema") if not other_model:
                hints = replace(hints, refused=True)
        self._hints = hints

    def _truncated(self, model: Model) -> AnswerTruncated:
        return AnswerTruncated(
            f"The answer of model '{model.name}' was cut at the token limit.",
            more_room=self._call.max_tokens is not None,
        )

    def _at_limit(self, model: Model, usage: Usage | None) -> bool:
        """Return whether the upstream counted as many tokens as allowed: the answer is cut, whatever it says itself."""
        if usage is None:
            return False
        most = self._adapted.max_tokens
        full = model.context is not None and usage.prompt + usage.completion >= model.context
        return full or (most is not None and usage.completion >= most * self._adapted.choices)


def outcome(verdicts: Sequence[tuple[ConstraintKind, VerdictWord]], history: FormatHistory) -> str:
    """Return the value of `x-smallfirst-structured` for an answer that may leave with these verdicts."""
    if not verdicts:
        return "none"
    return next((word for _, word in verdicts if word != "valid"), history)


def _as_read(call: ChatCall, constraint: Constraint) -> ChatCall:
    """Return the call with its schemas as they were read."""
    if not constraint.adapted:
        return call
    read = call.replaced(constraint.replaced) if constraint.replaced else call
    return structs.replace(read, adapted=call.adapted + constraint.adapted)


def _is_free(constraint: Constraint) -> bool:
    calls = constraint.calls
    return constraint.output_format is None and calls is not None and not calls.required


def _violation(
    model: Model, kind: ConstraintKind, fault: str, choice: Mapping[str, Any], is_endless: bool = False
) -> StructuredOutputViolation:
    message = f"The answer of model '{model.name}' {_VIOLATIONS[kind]}: {fault}"
    if is_endless:
        quote = until_repetition(as_text(choice))[:MAX_RUNAWAY_QUOTE_CHARS]
        return Runaway(message, kind=kind, answer=quote, fault=fault)
    return StructuredOutputViolation(message, kind=kind, answer=as_text(choice), fault=fault)
