"""What vLLM must be told on a CPU, for all models and for some architectures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Without AVX-512, bfloat16 is five times slower than float32. Compiling a model gives no speedup on a CPU.
CPU_ARGS: Mapping[str, Any] = {"dtype": "float32", "enforce_eager": True}

# Seen with vLLM 0.32. Its Mamba-2 layers for CPUs do not keep the states that a cached prefix needs: the first prompt
# that is longer than one chunk (128 or 256 tokens) ends the engine.
_MAMBA_2: Mapping[str, Any] = {"enable_prefix_caching": False}
# Its gated delta nets for CPUs take no other type of weights.
_GATED_DELTA_NET: Mapping[str, Any] = {"dtype": "bfloat16"}
ARGS_BY_ARCHITECTURE: Mapping[str, Mapping[str, Any]] = {
    "GraniteMoeHybridForCausalLM": _MAMBA_2,
    "NemotronHForCausalLM": _MAMBA_2,
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
