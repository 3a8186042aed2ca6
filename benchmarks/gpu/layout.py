"""What is served: the model's folder where its weights are dummies, and a models.yaml for each count of replicas."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu import tokenizer
from benchmarks.gpu.architecture import QWEN3_8B, TINY, parameters

NAME = "slm"
RESERVE_GIB = 5.0  # of one replica, for CUDA's context, graphs and activations
BYTES_EACH = 2  # of a weight in bfloat16


class DoesNotFit(Exception):
    """So many replicas have no room on the GPU."""


@dataclass(frozen=True, slots=True)
class Served:
    """The model: `source` as models.yaml has it; `config` where its weights are dummies."""

    source: str
    config: dict[str, Any] | None

    @property
    def dummy(self) -> bool:
        """Return whether the weights are random numbers."""
        return self.config is not None


def dummy_config(options: argparse.Namespace) -> dict[str, Any] | None:
    """Return the architecture that random weights are to fill; None: the weights are real."""
    return None if options.model else dict(TINY if options.tiny else QWEN3_8B)


def prepare(options: argparse.Namespace, folder: Path) -> Served:
    """Return what to serve; write the folder of a model with dummy weights."""
    config = dummy_config(options)
    if config is None:
        path = Path(options.model).expanduser()
        return Served(str(path.absolute()) if path.exists() else options.model, None)
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    tokenizer.write(model, config)
    return Served(str(model.absolute()), config)


def check_fits(options: argparse.Namespace, gpu_gib: float) -> None:
    """Check, before anything is started, that every layout has room on a GPU of `gpu_gib`.

    Raises:
        DoesNotFit: one has not.
    """
    for replicas in options.replicas:
        if replicas > 1:
            if options.model is not None and options.kv_cache_gib is None:
                raise DoesNotFit(
                    "several replicas of real weights on one GPU need --kv-cache-gib: they start at the same time, and "
                    "each would take the other's weights for its own; or measure one with --replicas 1"
                )
            kv_cache_gib(dummy_config(options), memory_share(options, replicas) * gpu_gib, options.kv_cache_gib)


def models_yaml(served: Served, options: argparse.Namespace, replicas: int, gpu_gib: float | None) -> str:
    """Return a models.yaml with so many replicas of the model on one GPU of `gpu_gib`, or on the CPU (None).

    Raises:
        DoesNotFit: weights and reserve leave no memory for the KV cache.
    """
    args: dict[str, Any] = {"load_format": "dummy"} if served.dummy else {}
    entry: dict[str, Any] = {"tier": "slm", "engine": "vllm", "source": served.source, "context": options.context}
    entry["replicas"] = replicas
    if gpu_gib is not None:
        entry["gpus"] = [options.gpu]
        share = args["gpu_memory_utilization"] = memory_share(options, replicas)
        cache = kv_cache_gib(served.config, share * gpu_gib, options.kv_cache_gib) if replicas > 1 else None
        if cache is not None:
            args["kv_cache_memory_bytes"] = int(cache * 2**30)
    entry["vllm_args"] = args | options.vllm_args
    entry["price"] = {"replica_hour_usd": round(options.gpu_hour_usd / replicas, 6)}
    entry["timeouts"] = {"first_byte_s": 600, "idle_s": 600, "total_s": 900}
    return yaml.safe_dump({"models": {NAME: entry}, "routes": {"auto": {"ladder": [NAME]}}}, sort_keys=False)


def memory_share(options: argparse.Namespace, replicas: int) -> float:
    """Return the share of the GPU's memory for one replica, rounded down: all together must not exceed the whole."""
    share: float = options.gpu_memory / replicas
    return math.floor(share * 1000) / 1000


def kv_cache_gib(config: Mapping[str, Any] | None, share_gib: float, wanted: float | None) -> float | None:
    """Return the KV cache of a replica that shares its GPU; None: vLLM finds it out.

    It is said beforehand because vLLM finds it out by what becomes of the GPU's free memory during its start, and
    there another replica starts at the same time.

    Raises:
        DoesNotFit: weights and reserve leave nothing.
    """
    if wanted is not None or config is None:
        return wanted
    weights = parameters(config) * BYTES_EACH / 2**30
    cache = share_gib - weights - RESERVE_GIB
    if cache <= 0:
        raise DoesNotFit(
            f"{share_gib:.1f} GiB of the GPU for each replica are too few for {weights:.1f} GiB of weights and"
            f" {RESERVE_GIB:g} GiB beside them: measure one replica alone (--replicas 1)"
        )
    return cache
