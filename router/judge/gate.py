"""Holds one small model's answer until it is known whether it may be believed.

A whole answer is judged when it has come. A stream is judged at its end, unless it is text of which the beginning is
sure enough: then it goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from router.attempt.failure import Failure
from router.config.models import Model
from router.errors import LowConfidence, UpstreamRejected
from router.judge import consistency, logprobs
from router.judge.features import Confidence, TokenLogprob, features, least_sure
from router.messages.choice import has_call
from router.policy.learned import Cascade
from router.record import RequestRecord
from router.types import ChatCall, Decision

SAMPLING_TEMPERATURE = 0.7
"""of samples that are to vote, where the client wants no warmer ones: colder ones would all say the same"""
MOST_TOKENS = 8192
"""of an answer whose values are looked for: that takes a few milliseconds; of a longer one all tokens count"""

Tokens = Mapping[int, Sequence[TokenLogprob]]
"""by choice; one that is not there has told nothing"""


@dataclass(frozen=True, slots=True)
class Case:
    """What there is to judge by. `is_formed`: the answer has to have a form, so that only its values count."""

    policy: Cascade
    decision: Decision
    model: Model
    call: ChatCall
    record: RequestRecord
    is_formed: bool


class Gate:
    """One try's answer. `is_open`: it may leave."""

    _added: ClassVar[str] = "logprob"
    """what an upstream names that refuses what was added to the call"""

    def __init__(self, case: Case) -> None:
        self._case = case
        # with the prompt echoed, its logprobs would come along
        self._tells = "logprobs" in case.model.abilities and case.call.body.get("echo") is not True
        self._keep = logprobs.asked_by_client(case.call)
        self._has_added = False
        self.is_open = False

    @property
    def choices(self) -> int:
        """Return how many answers the client wants."""
        return self._case.call.choices

    def put(self, call: ChatCall) -> ChatCall:
        """Return the call as it has to be asked so that the answer can be judged."""
        asked = self._asked(call)
        self._has_added = asked is not call
        return asked

    def excuse(self, failure: Failure) -> Failure:
        """Return what a failure means: what the client did not ask for is not its fault."""
        own = failure.reason is None and isinstance(failure.error, UpstreamRejected)
        if self._has_added and own and self._added in failure.error.message:
            return replace(failure, reason="ability")
        return failure

    def doubt(self) -> LowConfidence:
        """Return why the answer may not leave."""
        last = self._case.record.judgements[-1]
        return LowConfidence(
            f"The answer of model '{last.model}' is as good as the fallback's with a probability of "
            f"{last.probability:.2f}; at least {min(1.0, max(0.0, 1 - last.threshold)):.2f} is wanted.",
            param="routing.min_confidence",
        )

    def _asked(self, call: ChatCall) -> ChatCall:
        return logprobs.with_logprobs(call) if self._tells else call

    def _judge(self, tokens: Tokens, choices: Iterable[Mapping[str, Any]]) -> None:
        is_formed = self._case.is_formed or any(has_call(choice.get("message")) for choice in choices)
        least = least_sure(
            features(said, structured=is_formed and len(said) <= MOST_TOKENS)
            for said in (tokens.get(index, ()) for index in range(self.choices))
        )
        self._settle(least, None if least is None else least.score)

    def _settle(
        self, confidence: Confidence | None, score: float | None, *, beginning: bool = False, voted: bool = False
    ) -> None:
        case = self._case
        judged = case.policy.judge(case.decision, case.model, confidence, score, beginning=beginning, voted=voted)
        case.record.judgements.append(judged)
        self.is_open = judged.accepted


class WholeGate(Gate):
    """Of a whole answer: `read` it, and `judge` its choices as they may leave."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._tokens: Tokens = {}

    def read(self, answer: bytes) -> bytes:
        """Take what the answer tells of its tokens; return it as if nobody but the client had asked for that."""
        self._tokens = dict(enumerate(logprobs.tokens_of(answer))) if self._tells else {}
        return answer if self._keep else logprobs.stripped(answer)

    def choose(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the answer with those choices that the client gets."""
        return answer

    def judge(self, choices: Iterable[Mapping[str, Any]]) -> None:
        """Judge the answer."""
        self._judge(self._tokens, choices)


class VotingGate(WholeGate):
    """Of several answers to the same call: the client gets the one that most agree with."""

    _added = ""  # it may be `n`, the temperature, or that many answers at once: whatever it says

    def __init__(self, case: Case, samples: int) -> None:
        super().__init__(case)
        self._samples = samples
        self._score = 0.0

    def read(self, answer: bytes) -> bytes:
        """Return the answer as it is."""
        return answer

    def choose(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the answer with the choice that most agree with; let them vote, however many have come."""
        vote = consistency.vote(answer["choices"])
        self._score = consistency.score(vote)
        return {**answer, "choices": [{**answer["choices"][vote.index], "index": 0}]}

    def judge(self, choices: Iterable[Mapping[str, Any]]) -> None:
        """Judge the answer by the vote."""
        self._settle(None, self._score, voted=True)

    def _asked(self, call: ChatCall) -> ChatCall:
        warm = max(call.body.get("temperature") or 0.0, SAMPLING_TEMPERATURE)
        return call.replaced({"n": self._samples, "temperature": warm})


class StreamGate(Gate):
    """Of a stream: `hear` each event, `judge_beginning` after those that may be text, `end`."""

    def __init__(self, case: Case, *, early: bool) -> None:
        super().__init__(case)
        self._tokens: dict[int, list[TokenLogprob]] = {}
        self._beginning = 0
        if early and not case.is_formed and case.call.choices == 1:
            self._beginning = case.policy.beginning_tokens(case.model)

    def hear(self, event: bytes) -> bytes:
        """Take what an event tells of its tokens; return it as if nobody but the client had asked for that."""
        if not self.is_open:
            told = logprobs.tokens_of_event(event)
            self._tells = self._tells and told is not None
            for index, tokens in told or ():
                self._tokens.setdefault(index, []).extend(tokens)
        return event if self._keep else logprobs.stripped(event)

    def judge_beginning(self) -> None:
        """Judge the text's beginning once it is long enough."""
        if self._beginning and len(self._tokens.get(0, ())) >= self._beginning:
            confidence = features(self._tokens[0][: self._beginning])
            self._beginning = 0
            if confidence is not None and self._tells:
                self._settle(confidence, confidence.score, beginning=True)

    def end(self, choices: Iterable[Mapping[str, Any]]) -> None:
        """Judge the whole, by its choices as far as they are known."""
        if not self.is_open:
            self._judge(self._tokens if self._tells else {}, choices)
