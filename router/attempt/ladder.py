"""Who is asked for a call's answer, and who after them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from router.attempt.failure import Failure
from router.attempt.next_step import Standing, Step, next_step
from router.config.models import Model, Rung
from router.record import Escalation, RequestRecord
from router.types import Decision, EscalationReason

ABOUT_THE_ANSWER: frozenset[EscalationReason] = frozenset({"structured", "truncated", "confidence"})
"""the answer was not good enough: those beside who gave it, which the policy thought no better, are passed over"""


class Way(Struct, frozen=True):
    """The models that may answer a call, each with its rung, in the order in which they are asked.

    From `spare` on they are those that the policy would rather not ask: they are for a fallback that cannot.
    """

    steps: Sequence[tuple[int, Model]]
    spare: int
    at: int = 0

    @classmethod
    def of(cls, rungs: Sequence[Rung], decision: Decision) -> Way:
        """Return the way that a policy has chosen."""
        every = [(at, model) for at, rung in enumerate(rungs) for model in rung]
        if not decision.way:
            wanted = [step for step in every if step[0] >= decision.rung]
        else:
            named = {step[1].name: step for step in every}
            wanted = [named[name] for name in decision.way]
        if len(wanted) == len(every):
            return cls(wanted, len(wanted))
        return cls([*wanted, *(step for step in every if step not in wanted)], len(wanted))

    @property
    def model(self) -> Model:
        """Return who is asked now."""
        return self.steps[self.at][1]

    @property
    def rung(self) -> int:
        """Return where on the ladder that is."""
        return self.steps[self.at][0]

    @property
    def is_last(self) -> bool:
        """Return whether nobody is asked after this one."""
        return self.at == len(self.steps) - 1

    @property
    def is_spare(self) -> bool:
        """Return whether the policy would rather not have asked this one."""
        return self.at >= self.spare

    @property
    def rung_above(self) -> bool:
        """Return whether somebody on a higher rung is asked after this one."""
        return any(rung > self.rung for rung, _ in self.steps[self.at + 1 : self.spare])

    def after(self, failure: Failure) -> Way | None:
        """Return the way on from who failed so; None: nobody is left."""
        for at in range(self.at + 1, len(self.steps)):
            is_better = self.steps[at][0] > self.rung and at < self.spare
            if is_better or failure.reason not in ABOUT_THE_ANSWER:
                return Way(self.steps, self.spare, at)
        return None


class Course(Struct):
    """How far a request has come on its way."""

    way: Way
    tried: list[str] = []
    """replicas of the present model that have failed"""

    @classmethod
    def begin(cls, rungs: Sequence[Rung], decision: Decision, record: RequestRecord) -> Course:
        """Start where a policy says; the record is told where that is not the first rung."""
        way = Way.of(rungs, decision)
        if decision.rung:
            record.escalations.append(Escalation(rungs[0][0].name, way.model.name, "policy"))
        return cls(way)

    def go_on(self, failure: Failure, other_replicas: int, record: RequestRecord, *, spare: bool) -> Step:
        """Take note of a failure; return whether the same model is asked again, another one, or nobody.

        Args:
            failure: of the present model.
            other_replicas: of it that could take the call and have not been tried.
            record: is told of retries and escalations.
            spare: those may be asked whom the policy would rather not ask.
        """
        model, after = self.way.model, self.way.after(failure)
        is_wanted = after is not None and not after.is_spare
        step = next_step(failure, Standing(len(self.tried), other_replicas, is_wanted, bool(record.retries)))
        if failure.reason is None:
            return "fail"
        if step == "fail" and spare and after is not None:
            step = "escalate"
        is_higher = step == "escalate" and after is not None and after.rung > self.way.rung
        if step != "fail" and self.tried and not is_higher:
            record.retries.append((model.name, failure.reason))
        if step == "escalate" and after is not None:
            if is_higher:
                record.escalations.append(Escalation(model.name, after.model.name, failure.reason))
            if after.is_spare:
                record.unsure = failure.reason
            self.way, self.tried = after, []
        return step
