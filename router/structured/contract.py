"""The form that was promised for one request's answer, and how each try is held to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import is_
from typing import Any

from router.attempt.next_step import ASKED_DIFFERENTLY
from router.config.models import Model
from router.errors import AnswerTruncated, ApiError, StructuredOutputViolation, UpstreamRejected
from router.record import RequestRecord
from router.structured.answer.assemble import endpoint_fields
from router.structured.answer.check import check_choice
from router.structured.answer.stream_checker import Mode, StreamChecker
from router.structured.constraint import Constraint
from router.structured.engine.constrained_call import MORE_ROOM, Learned, Meant, as_calls, as_text, meant, put
from router.structured.engine.enforcement import enforcement_of
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import ChatCall, ConstraintKind, Enforcement, Usage, VerdictWord

Choices = Sequence[Mapping[str, Any]]
NOTHING = Learned()


class OutputContract:
    """One request's constraint. Before a try: `put`, and `follow` for a stream; after it: `verify`, or `learn`.

    The record's `structured` says how far it is kept.
    """

    def __init__(self, constraint: Constraint, call: ChatCall, record: RequestRecord, workers: GrammarWorkers) -> None:
        self._constraint = constraint
        self._call = call
        self._record = record
        self._workers = workers
        self._learned = NOTHING
        self._hold: Enforcement = "none"
        self._put = call
        self._asked = constraint
        self._meant: Meant | None = None

    @property
    def is_free(self) -> bool:
        """Return whether any text will do: calls may be made, need not be, and no form is asked for."""
        return _is_free(self._constraint)

    async def put(self, model: Model) -> ChatCall:
        """Return the call as this model is to be asked."""
        learned = self._learned
        if model.backend is None:
            learned = replace(learned, meant=None)
        self._asked = learned.meant.constraint if learned.meant else self._constraint
        self._hold = "none" if learned.refused else await enforcement_of(self._asked, model, self._workers)
        self._put = put(self._call, self._constraint, model, self._hold, learned)
        self._meant = None
        return self._put

    def follow(self, model: Model) -> StreamChecker:
        """Return who follows the answer's stream. The headers can only say what is known at its beginning."""
        pace = self._pace()
        is_sure = pace == "check" and self._hold == "whole"
        self._record.held = not is_sure  # a checked one that begins with prose waits, too
        self._record.structured = "none" if pace == "talk" else self._how(["valid"]) if is_sure else "checking"
        return StreamChecker(self._asked, pace, partial(self._broken, model))

    def _pace(self) -> Mode:
        routing = self._call.routing
        if routing.on_truncation == "retry":
            return "hold"
        if _is_free(self._asked):
            return "talk"
        if routing.stream_check is None:
            return "check" if self._hold == "whole" else "hold"
        return "check" if routing.stream_check == "prefix" else "hold"

    async def verify(self, choices: Choices, usage: Usage | None, model: Model, *, last: bool) -> Choices | None:
        """Check every choice; return what may leave instead, None: they may leave as they are.

        `last`: nobody else can be asked, so a cut answer is better than none.

        Raises:
            StructuredOutputViolation: of the first invalid one, or the first cut one where another try is wanted.
        """
        at_limit, verified, words = self._at_limit(model, usage), list[Mapping[str, Any]](), list[VerdictWord]()
        for choice in (endpoint_fields(choice, is_chat=self._call.is_chat) for choice in choices):
            verdict, may_leave = await check_choice(self._constraint, choice, self._workers, at_limit=at_limit)
            verified.append(may_leave)
            if verdict.word != "invalid" and _is_free(self._constraint) and not as_calls(may_leave):
                continue  # text, where there might have been a call
            if verdict.word == "invalid":
                self._meant = meant(self._constraint, choice, verdict.kind)
                raise self._broken(model, verdict.kind, f"at '{verdict.path or '/'}': {verdict.message}", choice)
            words.append(verdict.word)
            self._record.verdicts.append((model.name, verdict.kind, verdict.word))
            if verdict.word == "truncated" and self._call.routing.on_truncation == "retry" and not last:
                raise AnswerTruncated(
                    f"The answer of model '{model.name}' was cut at the token limit.",
                    more_room=self._call.max_tokens is not None,
                )
        self._record.structured = self._how(words)
        return None if all(map(is_, choices, verified)) else verified

    def learn(self, error: ApiError, *, other_model: bool) -> None:
        """Take note of why a try failed; `other_model`: the next one is another's, which did none of it."""
        learned = replace(NOTHING, room=self._learned.room) if other_model else self._learned
        match error:
            case AnswerTruncated():
                learned = replace(learned, room=learned.room * MORE_ROOM)
            case StructuredOutputViolation() if not other_model:
                learned = replace(learned, wrong=error, meant=self._meant)
            case UpstreamRejected(code="unsupported_schema") if not other_model:
                learned = replace(learned, refused=True)
        self._learned = learned

    def _broken(
        self, model: Model, kind: ConstraintKind, fault: str, choice: Mapping[str, Any]
    ) -> StructuredOutputViolation:
        self._record.verdicts.append((model.name, kind, "invalid"))
        return StructuredOutputViolation(
            f"The answer of model '{model.name}' is not the {kind} that was asked for: {fault}",
            answer=as_text(choice),
            fault=fault,
        )

    def _at_limit(self, model: Model, usage: Usage | None) -> bool:
        """Return whether the upstream counted as many tokens as there may be: cut, whatever it says itself."""
        if usage is None:
            return False
        most, full = (
            self._put.max_tokens,
            model.context is not None and usage.prompt + usage.completion >= model.context,
        )
        return full or (most is not None and usage.completion >= most * self._put.choices)

    def _how(self, words: Sequence[VerdictWord]) -> str:
        """Return how the answer came to its form, or why it has not; `words` are the verdicts of its choices."""
        if not words:
            return "none"
        if unusual := [word for word in words if word != "valid"]:
            return unusual[0]
        if any(escalation.reason in ASKED_DIFFERENTLY for escalation in self._record.escalations):
            return "escalated"
        return "retried" if any(reason in ASKED_DIFFERENTLY for _, reason in self._record.retries) else "decoded"


def _is_free(constraint: Constraint) -> bool:
    """Return whether any text will do: calls may be made, need not be, and no form is asked for."""
    calls = constraint.calls
    return constraint.output_format is None and calls is not None and not calls.required
