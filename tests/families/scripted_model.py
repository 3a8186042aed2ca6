"""Makes a model say what a request asks: random weights say nothing that a parser would recognise.

A logits processor, which vLLM loads by its name. `vllm_xargs: {"say": [token, ...]}` in a request forces these tokens,
one after the other; then the model goes on by itself. Everything else is the model's own: layers, caches, decoding.
"""

from __future__ import annotations

from functools import partial

import torch
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor


class ScriptedModel(AdapterLogitsProcessor):
    """Forces the tokens of `say`."""

    def is_argmax_invariant(self) -> bool:
        """Return False: the likeliest token changes."""
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> partial[torch.Tensor] | None:
        """Return what forces the tokens of one request, if it has any."""
        script = (params.extra_args or {}).get("say")
        return partial(_force, [int(token) for token in script]) if script else None


def _force(script: list[int], said: list[int], logits: torch.Tensor) -> torch.Tensor:
    if len(said) < len(script):
        token = script[len(said)]
        logits.fill_(float("-inf"))
        logits[token] = 0.0
    return logits
