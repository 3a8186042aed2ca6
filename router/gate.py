"""Holds one small model's answer until it is known whether it may be believed.

A whole answer is judged when it has come. A stream is judged at its end, unless it is text of which the beginning is
sure enough: then it goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router import consistency, logprobs
from router.confidence import Confidence, TokenLogprob, features, least_sure
from router.config import Model
from router.errors import LowConfidence
from router.policy.learned import Cascade
from router.record import RequestRecord
from router.types import ChatCall, Decision

SAMPLING_TEMPERATURE = 0.7
"""of samples that are to vote, where the client wants no warmer ones: colder ones would all say the same"""


class Gate:
    """One try's answer. `put` before it; a whole one: `read`, `choose`, `judge`.

    A stream: `hear` and `judge_beginning` for each event, then `end`. `is_open`: the answer may leave.
    """

    def __init__(
        self,
        policy: Cascade,
        decision: Decision,
        model: Model,
        call: ChatCall,
        record: RequestRecord,
        *,
        samples: int,
        is_formed: bool,
        early: bool,
    ) -> None:
        self._policy, self._decision, self._model = policy, decision, model
        self._record = record
        self._samples = samples if call.is_chat and call.choices == 1 and not call.stream else 0
        self._keep = logprobs.asked_by_client(call)
        self._is_formed, self._choices = is_formed, call.choices
        self._beginning = policy.beginning_tokens(model) if early and not is_formed and call.choices == 1 else 0
        self._tokens: dict[int, list[TokenLogprob]] = {}
        self._vote: consistency.Vote | None = None
        self.is_open = False

    def put(self, call: ChatCall) -> ChatCall:
        """Return the call as it has to be asked so that the answer can be judged."""
        if not self._samples:
            return logprobs.with_logprobs(call)
        warm = max(call.body.get("temperature") or 0.0, SAMPLING_TEMPERATURE)
        return call.replaced({"n": self._samples, "temperature": warm})

    def read(self, answer: bytes) -> bytes:
        """Take what a whole answer tells of its tokens; return it as if nobody but the client had asked for that."""
        if self._samples:
            return answer
        self._tokens = dict(enumerate(map(list, logprobs.tokens_of(answer))))
        return answer if self._keep else logprobs.stripped(answer)

    def choose(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return a whole answer with the choice that most samples agree with; as it is where there is but one."""
        if not self._samples:
            return answer
        self._vote = consistency.vote(answer["choices"])
        return {**answer, "choices": [{**answer["choices"][self._vote.index], "index": 0}]}

    def judge(self, choices: Sequence[Mapping[str, Any]]) -> None:
        """Judge a whole answer by its choices as they may leave."""
        if self._vote is not None:
            self._settle(None, consistency.score(self._vote))
            return
        self._is_formed = self._is_formed or any(_has_call(choice.get("message")) for choice in choices)
        self._settle(*self._confidence())

    def hear(self, event: bytes) -> bytes:
        """Take what the next event of a stream tells of its tokens; return it as `read` does."""
        if not self.is_open:
            for index, tokens in logprobs.tokens_of_event(event):
                self._tokens.setdefault(index, []).extend(tokens)
        return event if self._keep else logprobs.stripped(event)

    def judge_beginning(self, chunk: Mapping[str, Any]) -> None:
        """Take the same event as it was read; judge the answer's beginning once it is long enough."""
        if any(_has_call(part.get("delta")) for part in chunk.get("choices") or ()):
            self._is_formed, self._beginning = True, 0
        elif self._beginning and len(beginning := self._tokens.get(0, [])[: self._beginning]) == self._beginning:
            self._beginning = 0
            confidence = features(beginning)
            self._settle(confidence, None if confidence is None else confidence.score, beginning=True)

    def end(self) -> None:
        """Judge a stream that has come to its end."""
        if not self.is_open:
            self._settle(*self._confidence())

    def doubt(self) -> LowConfidence:
        """Return why the answer may not leave."""
        last = self._record.judgements[-1]
        return LowConfidence(
            f"The answer of model '{self._model.name}' is as good as the fallback's with a probability of "
            f"{last.probability:.2f}; at least {min(1.0, max(0.0, 1 - last.threshold)):.2f} is wanted.",
            param="routing.min_confidence",
        )

    def _settle(self, confidence: Confidence | None, score: float | None, *, beginning: bool = False) -> None:
        judged = self._policy.judge(self._decision, self._model, confidence, score, beginning=beginning)
        self._record.judgements.append(judged)
        self.is_open = judged.accepted

    def _confidence(self) -> tuple[Confidence | None, float | None]:
        """Return the confidence of the choice that is least sure; None: of one that says nothing of itself."""
        least = least_sure(
            features(self._tokens.get(index, ()), structured=self._is_formed) for index in range(self._choices)
        )
        return least, None if least is None else least.score


def _has_call(message: object) -> bool:
    return isinstance(message, Mapping) and bool(message.get("tool_calls") or message.get("function_call"))
