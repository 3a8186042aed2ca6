"""What vLLM must be told on a CPU, for all models and for some architectures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CPU_ARGS: Mapping[str, Any] = {
    # Without AVX-512, bfloat16 is five times slower than float32.
    "dtype": "float32",
    # Compiling a model gives no speedup on a CPU.
    "enforce_eager": True,
    # vLLM 0.32 ends when it splits the prompt of a request with a `seed`: "CPU Generator does not use offset". Without
    # this, several prompts at once are enough, each far below the context.
    "enable_chunked_prefill": False,
}

# For vLLM 0.32, too. Layers with a state cache prefixes only if prompts are split. And Mamba-2 layers for CPUs do not
# keep the states that this needs: a prompt of some hundred tokens ends the engine.
_STATE: Mapping[str, Any] = {"enable_prefix_caching": False}
# Gated delta nets for CPUs take no other type of weights.
_GATED_DELTA_NET: Mapping[str, Any] = {**_STATE, "dtype": "bfloat16"}
ARGS_BY_ARCHITECTURE: Mapping[str, Mapping[str, Any]] = {
    "GraniteMoeHybridForCausalLM": _STATE,
    "Lfm2ForCausalLM": _STATE,
    "NemotronHForCausalLM": _STATE,
    "Qwen3_5ForCausalLM": _GATED_DELTA_NET,
    "Qwen3_5ForConditionalGeneration": _GATED_DELTA_NET,
}


def cpu_args(architectures: Iterable[str]) -> dict[str, Any]:
    """Return vLLM's arguments for a model of these architectures on a CPU."""
    args = dict(CPU_ARGS)
    for architecture in architectures:
        args |= ARGS_BY_ARCHITECTURE.get(architecture, {})
    return args


def architectures_of(folder: Path) -> tuple[str, ...]:
    """Return the architectures that a folder's config.json names; none if there is no such file, which vLLM reports."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return ()
    names = config.get("architectures") if isinstance(config, dict) else None
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()
