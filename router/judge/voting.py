"""Judges by a vote among several answers to the same call (self-consistency). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router.judge import consistency
from router.judge.base import JudgedCall, WholeAnswerJudge
from router.types import ChatCall

SAMPLING_TEMPERATURE = 0.7
"""of the samples that vote, unless the client asks for more: colder samples would all be equal"""


class VotingJudge(WholeAnswerJudge):
    """Asks for `samples` answers; the client gets the one that agrees with most of the others."""

    marker = ""  # the upstream may refuse `n`, the temperature, or several answers at once: any refusal counts

    def __init__(self, judged: JudgedCall, samples: int) -> None:
        super().__init__(judged)
        self._samples = samples
        self._score = 0.0

    def read(self, answer: bytes) -> bytes:
        """Return the answer unchanged."""
        return answer

    def choose(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Let the samples vote, however many came; return the answer with the winner alone."""
        vote = consistency.vote(answer["choices"])
        self._score = consistency.score(vote)
        return {**answer, "choices": [{**answer["choices"][vote.index], "index": 0}]}

    def judge(self, choices: Iterable[Mapping[str, Any]]) -> None:
        """Judge the answer by the winner's share of the votes."""
        self._judge(self._accepts(None, self._score, voted=True))

    def _adapted(self, call: ChatCall) -> ChatCall:
        temperature = max(call.body.get("temperature") or 0.0, SAMPLING_TEMPERATURE)
        return call.replaced({"n": self._samples, "temperature": temperature})
