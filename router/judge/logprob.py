"""Judges a whole answer by the logprobs of its tokens. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router.judge import logprobs
from router.judge.base import JudgedCall, TokensByChoice, WholeAnswerJudge


class LogprobJudge(WholeAnswerJudge):
    """Asks for logprobs, reads them, and removes them if the client did not ask for them."""

    def __init__(self, judged: JudgedCall) -> None:
        super().__init__(judged)
        self._tokens: TokensByChoice = {}

    def read(self, answer: bytes) -> bytes:
        """Read the logprobs; return the answer as the client asked for it."""
        self._tokens = dict(enumerate(logprobs.tokens_of(answer))) if self._reads_logprobs else {}
        return answer if self._keeps_logprobs else logprobs.without_logprobs(answer)

    def choose(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the answer unchanged."""
        return answer

    def judge(self, choices: Iterable[Mapping[str, Any]]) -> None:
        """Judge the answer by its least sure choice."""
        self._judge_tokens(self._tokens, choices)
