"""A judge decides whether a small model's answer is good enough to accept. One judge serves one attempt. Pure.

A judge keeps its judgements; the dispatch writes them to the request's record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from router.decision import Confidence, Judgement
from router.errors import LowConfidence, UpstreamRejected
from router.judge import logprobs
from router.judge.features import TokenLogprob, features, least_confident
from router.messages.choice import has_tool_call
from router.types import ChatCall

MAX_VALUE_TOKENS = 8192
"""of an answer whose values are located, which takes a few milliseconds; in a longer answer all tokens count"""

TokensByChoice = Mapping[int, Sequence[TokenLogprob]]
"""choice index -> its tokens; a choice without logprobs is absent"""


class AcceptanceRule(Protocol):
    """A policy's rule: may an answer with this score be accepted? `score`: log-odds, or None if unknown."""

    def __call__(
        self, confidence: Confidence | None, score: float | None, *, beginning: bool = False, voted: bool = False
    ) -> Judgement:
        """Return the judgement on an answer, on its `beginning`, or on a vote (`voted`)."""
        ...


@dataclass(frozen=True, slots=True)
class JudgedCall:
    """The call whose answer is judged, and what is known of the answer beforehand."""

    call: ChatCall
    """as the client sent it"""
    accepts: AcceptanceRule
    has_logprobs: bool
    """the model's upstream reports logprobs"""
    is_structured: bool
    """the answer must have a format, so only the tokens of its values count"""


class Judge:
    """Judges one attempt's answer."""

    marker: ClassVar[str] = "logprob"
    """what an upstream's refusal mentions if it refused what `adapt` added"""

    def __init__(self, judged: JudgedCall) -> None:
        self._call, self._accepts, self._is_structured = judged.call, judged.accepts, judged.is_structured
        # with the prompt echoed, the prompt's logprobs would come along
        self._reads_logprobs = judged.has_logprobs and judged.call.body.get("echo") is not True
        self._keeps_logprobs = logprobs.client_wants_logprobs(judged.call)
        self._has_adapted = False
        self.judgements: list[Judgement] = []
        self.accepted = False
        """the answer may be sent to the client"""

    def adapt(self, call: ChatCall) -> ChatCall:
        """Return the call with what the judge needs added: logprobs, or more answers."""
        adapted = self._adapted(call)
        self._has_adapted = adapted is not call
        return adapted

    def caused(self, error: UpstreamRejected) -> bool:
        """Return whether the upstream refused what `adapt` added: that is not the client's fault."""
        return self._has_adapted and self.marker in error.message

    def low_confidence_error(self) -> LowConfidence:
        """Return the error that says why the answer was not accepted."""
        last = self.judgements[-1]
        return LowConfidence(
            f"The answer of model '{last.model}' is as good as the fallback's with a probability of "
            f"{last.probability:.2f}; at least {min(1.0, max(0.0, 1 - last.threshold)):.2f} is required.",
            param="routing.min_confidence",
        )

    def _judge(self, judgement: Judgement) -> None:
        self.judgements.append(judgement)
        self.accepted = judgement.accepted

    def _adapted(self, call: ChatCall) -> ChatCall:
        return logprobs.with_logprobs(call) if self._reads_logprobs else call

    def _judge_tokens(self, tokens: TokensByChoice, choices: Iterable[Mapping[str, Any]]) -> None:
        """Judge by the least sure choice."""
        is_structured = self._is_structured or any(has_tool_call(choice.get("message")) for choice in choices)
        of_choices = (tokens.get(index, ()) for index in range(self._call.choices))
        least = least_confident(
            features(of_choice, structured=is_structured and len(of_choice) <= MAX_VALUE_TOKENS)
            for of_choice in of_choices
        )
        self._judge(self._accepts(least, None if least is None else least.score))


class WholeAnswerJudge(Judge, ABC):
    """Judges an answer that comes as a whole: `read` it, `choose` its choices, then `judge` them."""

    @abstractmethod
    def read(self, answer: bytes) -> bytes:
        """Take from the answer's bytes what the judgement needs; return it without what only the judge asked for."""

    @abstractmethod
    def choose(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the answer with the choices that the client gets."""

    @abstractmethod
    def judge(self, choices: Iterable[Mapping[str, Any]]) -> None:
        """Judge the answer by its choices as the client would get them."""
