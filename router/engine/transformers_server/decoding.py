"""One answer while it is generated: what steers each token, what is read from it, and when to stop.

`generate` calls the two methods in turn: `steer` before a token is chosen and `read` after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy
import torch
from llguidance import LLMatcher
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from .events import Finished, Token, TokenLogprob
from .request import ChatRequest
from .text import Detokenizer, StopStrings

LOWEST_LOGPROB = -9999.0
"""what is reported for a token that could not be chosen: JSON has no infinity"""


class Decoding:
    """The state of one choice. `emit` gets each token; `cancelled` says that nobody waits for the answer any more."""

    def __init__(
        self,
        request: ChatRequest,
        choice: int,
        model: ModelFacts,
        matcher: LLMatcher | None,
        emit: Callable[[Token], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self._request, self._choice, self._model, self._matcher = request, choice, model, matcher
        self._emit, self._cancelled = emit, cancelled
        self._text = Detokenizer(model.decode)
        self._stops = StopStrings([*request.stop, *model.stop_strings])
        self._counts: Counter[int] = Counter()
        self._scores: Any = None
        self._reason = "length"
        self._mask: Any = None

    def steer(self, _: Any, scores: Any) -> Any:
        """Return the scores of the next token with the request's penalties, biases and format applied."""
        sampling = self._request.sampling
        if self._counts and (sampling.presence_penalty or sampling.frequency_penalty):
            seen = torch.tensor(list(self._counts), device=scores.device)
            counts = torch.tensor(list(self._counts.values()), device=scores.device, dtype=scores.dtype)
            scores[0, seen] -= sampling.presence_penalty + sampling.frequency_penalty * counts
        for token, bias in sampling.logit_bias.items():
            if token < scores.shape[1]:
                scores[0, token] += bias
        if self._matcher is not None:
            scores = scores.masked_fill(~self._allowed(self._matcher, scores.shape[1]).to(scores.device), float("-inf"))
        self._scores = scores
        return scores

    def read(self, ids: Any, _: Any, **__: Any) -> Any:
        """Read the newest token of the one sequence; return whether it was the last one."""
        token = int(ids[0, -1])
        self._counts[token] += 1
        stop = True
        if token in self._model.eos:
            self._reason = "stop"
        else:
            text = self._stops.push(self._text.push(token))
            self._emit(Token(self._choice, text, *self._logprobs(token)))
            stop = self._ends_after(token)
            if stop:
                self._reason = "stop"
        return torch.tensor([stop or self._cancelled()], device=ids.device)

    def finished(self) -> Finished:
        """Return the end of the choice, after `generate` has returned."""
        text = "" if self._stops.found else self._stops.push(self._text.flush()) + self._stops.flush()
        return Finished(self._choice, text, self._reason, self._counts.total())

    def _ends_after(self, token: int) -> bool:
        """Return whether a stop string is complete, or the format allows nothing more."""
        if self._matcher is None:
            return self._stops.found
        self._matcher.consume_token(token)
        return self._stops.found or self._matcher.is_stopped()

    def _allowed(self, matcher: LLMatcher, size: int) -> Any:
        """Return which tokens the format allows next, as a mask of the size of the scores."""
        if self._mask is None:
            self._mask = allocate_token_bitmask(1, size)
        fill_next_token_bitmask(matcher, self._mask)
        return torch.from_numpy(numpy.unpackbits(self._mask.view(numpy.uint8), bitorder="little")[:size].astype(bool))

    def _logprobs(self, token: int) -> tuple[TokenLogprob | None, Sequence[TokenLogprob]]:
        """Return the logprobs at temperature 1, under the format: its choices sum up to 1."""
        count = self._request.top_logprobs
        if count is None:
            return None, ()
        logprobs = torch.log_softmax(self._scores[0].float(), dim=-1)
        best = torch.topk(logprobs, count)
        alternatives = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return (
            self._entry(token, float(logprobs[token])),
            [self._entry(alternative, logprob) for alternative, logprob in alternatives],
        )

    def _entry(self, token: int, logprob: float) -> TokenLogprob:
        return TokenLogprob(self._model.decode([token]), max(logprob, LOWEST_LOGPROB))


class ModelFacts(NamedTuple):
    """What decoding must know of a model."""

    decode: Callable[[list[int]], str]
    eos: frozenset[int]
    """the tokens that end an answer"""
    stop_strings: Sequence[str] = ()
    """the texts that end an answer, beside the request's own"""
