"""Judges a stream at its end, or by its first tokens if these are sure enough. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router.judge import logprobs
from router.judge.base import Judge, JudgedCall
from router.judge.features import TokenLogprob, features


class StreamJudge(Judge):
    """`read` each event, `judge_beginning` after each that may be text, and `judge_end`."""

    def __init__(self, judged: JudgedCall, beginning_tokens: int = 0) -> None:
        """`beginning_tokens`: judge a text by so many first tokens; 0 judges only whole answers."""
        super().__init__(judged)
        self._tokens: dict[int, list[TokenLogprob]] = {}
        is_one_text = not judged.is_structured and judged.call.choices == 1
        self._beginning_tokens = beginning_tokens if is_one_text else 0

    def read(self, event: bytes) -> bytes:
        """Read an event's logprobs; return the event as the client asked for it."""
        if not self.accepted:
            found = logprobs.tokens_of_event(event)
            self._reads_logprobs = self._reads_logprobs and found is not None
            for index, tokens in found or ():
                self._tokens.setdefault(index, []).extend(tokens)
        return event if self._keeps_logprobs else logprobs.without_logprobs(event)

    def judge_beginning(self) -> None:
        """Judge the text's beginning once it is long enough."""
        if self._beginning_tokens and len(self._tokens.get(0, ())) >= self._beginning_tokens:
            confidence = features(self._tokens[0][: self._beginning_tokens])
            self._beginning_tokens = 0
            if confidence is not None and self._reads_logprobs:
                self._judge(self._accepts(confidence, confidence.score, beginning=True))

    def judge_end(self, choices: Iterable[Mapping[str, Any]]) -> None:
        """Judge the whole answer by its choices, as far as they are known."""
        if not self.accepted:
            self._judge_tokens(self._tokens if self._reads_logprobs else {}, choices)
