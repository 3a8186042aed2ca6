"""The models that may answer a call, in asking order, and how far the request has come. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from router.attempt.failure import MAX_TRIES_ON_A_RUNG, Failure
from router.attempt.next_step import Standing, Step, next_step
from router.config.models import Model, Route, Rung
from router.decision import Decision
from router.types import ChatCall, EscalationReason

ABOUT_THE_ANSWER: frozenset[EscalationReason] = frozenset({"structured", "truncated", "runaway", "confidence"})
"""The answer was not good enough. Models on the same rung are not tried: the policy ranked them lower."""


class Move(NamedTuple):
    """What a failure leads to."""

    step: Step
    is_repeat: bool = False
    """a further attempt on the same rung"""
    is_higher: bool = False
    """the next model is on a higher rung"""
    pause_s: float = 0.0
    """how long to wait before it"""
    is_retry_refused: bool = False
    """the request would have been retried, but for the retry budget"""


class Ladder(Struct):
    """The models in asking order, each with its rung; the current one; its replicas that have failed.

    From `skipped_from` on stand the models that the policy skipped: they are asked if the fallback cannot answer. After
    them, once more, come those that were not asked because their replicas had failed lately, or wanted a pause: a route
    is never left without a model to ask. Where all are overloaded, those that wanted a pause get it.
    """

    models: Sequence[tuple[int, Model]]
    skipped_from: int
    at: int = 0
    tried: list[str] = []
    """replicas of the current model that have failed"""
    last_resorts: int = 0
    """the number of models that stand at the end once more"""
    resting: list[Model] = []
    """those of them whose replicas wanted a pause"""

    @classmethod
    def of(cls, rungs: Sequence[Rung], decision: Decision) -> Ladder:
        """Return the ladder that a policy's decision makes of a route's rungs."""
        every = [(rung, model) for rung, models in enumerate(rungs) for model in models]
        if decision.asking_order:
            by_name = {model.name: (rung, model) for rung, model in every}
            chosen = [by_name[name] for name in decision.asking_order]
        elif not decision.rung:
            chosen = every
        else:
            chosen = [step for step in every if step[0] >= decision.rung]
        if len(chosen) == len(every):
            return cls(chosen, len(chosen))
        return cls([*chosen, *(step for step in every if step not in chosen)], len(chosen))

    @property
    def current(self) -> Model:
        """Return the model that is asked now."""
        return self.models[self.at][1]

    @property
    def is_last_resort(self) -> bool:
        """Return whether no model is asked after the current one, but for those that are a last resort themselves."""
        return self.at + self.last_resorts >= len(self.models) - 1

    @property
    def is_skipped(self) -> bool:
        """Return whether the policy skipped the current model."""
        return self.models.index(self.models[self.at]) >= self.skipped_from

    @property
    def rung_above(self) -> bool:
        """Return whether a model on a higher rung is asked after the current one."""
        rung = self.models[self.at][0]
        return any(other > rung for other, _ in self.models[self.at + 1 : self.skipped_from])

    def is_final_try(self, *, more_room: bool) -> bool:
        """Return whether no later try could do better if this one's answer is cut.

        `more_room`: a retry gets a larger token limit; otherwise it would be cut at the same place.
        """
        return not self.rung_above and (len(self.tried) + 1 >= MAX_TRIES_ON_A_RUNG or not more_room)

    def next_step(
        self,
        failure: Failure,
        *,
        other_replicas: int,
        retried: bool,
        may_ask_skipped: bool,
        longest_pause_s: float = 0.0,
    ) -> Move:
        """Move on after the current model's failure; `Ladder.current` is then the model to ask next.

        Args:
            failure: of the current model.
            other_replicas: its replicas that could take the call and have not been tried.
            retried: the request was retried before, or may not be retried.
            may_ask_skipped: models that the policy skipped may be asked.
            longest_pause_s: how long the request may wait for the same replica.
        """
        if failure.is_last_resort and not self.is_last_resort:
            self.models, self.last_resorts = [*self.models, self.models[self.at]], self.last_resorts + 1
            if failure.reason == "overloaded":
                self.resting = [*self.resting, self.current]
        after = self._after(failure)
        is_chosen = after is not None and after < self.skipped_from
        step = next_step(failure, Standing(len(self.tried), other_replicas, is_chosen, retried, longest_pause_s))
        if step == "fail" and failure.reason is not None and may_ask_skipped and after is not None:
            step = "escalate"
        if step != "escalate" or after is None:
            return Move(step, is_repeat=step == "retry" and bool(self.tried))
        is_higher = self.models[after][0] > self.models[self.at][0]
        move = Move(step, is_repeat=bool(self.tried) and not is_higher, is_higher=is_higher)
        self.at, self.tried = after, []
        return move

    def _after(self, failure: Failure) -> int | None:
        """Return the place of the model to ask after this failure, or None if no model is left."""
        rung = self.models[self.at][0]
        for at in range(self.at + 1, len(self.models)):
            if failure.reason == "overloaded" and self._gets_pause(at):
                continue
            is_better = self.models[at][0] > rung and at < self.skipped_from
            if is_better or failure.reason not in ABOUT_THE_ANSWER:
                return at
        return None

    def _gets_pause(self, at: int) -> bool:
        return at >= len(self.models) - self.last_resorts and self.models[at][1] in self.resting


def allowed_rungs(route: Route, call: ChatCall) -> Sequence[Rung]:
    """Return the route's rungs without its fallback, if the client does not allow that."""
    if call.routing.allow_fallback or len(route.rungs) == 1 or route.rungs[-1][0] is not route.fallback:
        return route.rungs
    return route.rungs[:-1]
