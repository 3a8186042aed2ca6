"""What is served: a model folder for dummy weights, and a models.yaml for each number of replicas."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu import tokenizer
from benchmarks.gpu.architecture import SIZES, TINY, parameters

NAME = "slm"
RESERVE_GIB = 5.0  # for one replica's CUDA context, graphs and activations
BYTES_EACH = 2  # of a weight in bfloat16


class DoesNotFit(Exception):
    """The replicas need more memory than the GPU has."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How the model is served: on how many replicas, and in which precision if not the model's own."""

    replicas: int
    quantization: str | None = None

    def __str__(self) -> str:
        precision = f" in {self.quantization}" if self.quantization else ""
        return f"{self.replicas} replica{'s' if self.replicas > 1 else ''}{precision}"

    @property
    def file_name(self) -> str:
        """Return a name for files of this variant."""
        return f"{self.replicas}-{self.quantization or 'plain'}"


def variants(options: argparse.Namespace) -> Iterator[Variant]:
    """Yield what is measured, one after the other. The first is what the others are compared with."""
    yield from map(Variant, options.replicas)
    if options.fp8:
        yield Variant(1, "fp8")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model: its `source` in models.yaml, and its `config` if its weights are dummies."""

    source: str
    config: dict[str, Any] | None

    @property
    def dummy(self) -> bool:
        """Return whether the weights are random numbers."""
        return self.config is not None


def dummy_config(options: argparse.Namespace) -> dict[str, Any] | None:
    """Return the architecture for random weights; None: the weights are real."""
    return None if options.model else dict(TINY if options.tiny else SIZES[options.size][1])


def prepare(options: argparse.Namespace, folder: Path) -> ServedModel:
    """Return the model to serve; write its folder if its weights are dummies."""
    config = dummy_config(options)
    if config is None:
        path = Path(options.model).expanduser()
        return ServedModel(str(path.absolute()) if path.exists() else options.model, None)
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    tokenizer.write(model, config)
    return ServedModel(str(model.absolute()), config)


def check_fits(options: argparse.Namespace, gpu_gib: float) -> None:
    """Check, before anything is started, that every layout fits on a GPU with `gpu_gib` of memory.

    Raises:
        DoesNotFit: one does not.
    """
    for replicas in options.replicas:
        if replicas > 1:
            if options.model is not None and options.kv_cache_gib is None:
                raise DoesNotFit(
                    "several replicas of real weights on one GPU need --kv-cache-gib: they start at the same time, so "
                    "neither can measure how much memory is its own; or measure one with --replicas 1"
                )
            kv_cache_gib(dummy_config(options), memory_share(options, replicas) * gpu_gib, options.kv_cache_gib)


def models_yaml(served: ServedModel, options: argparse.Namespace, variant: Variant, gpu_gib: float | None) -> str:
    """Return a models.yaml with a variant of the model on a GPU of `gpu_gib`, or on the CPU (None).

    Raises:
        DoesNotFit: weights and reserve leave no memory for the KV cache.
    """
    replicas = variant.replicas
    args: dict[str, Any] = {"load_format": "dummy"} if served.dummy else {}
    if variant.quantization:
        args["quantization"] = variant.quantization
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
    """Return the share of the GPU's memory for one replica, rounded down, so that the sum does not exceed the whole."""
    share: float = options.gpu_memory / replicas
    return math.floor(share * 1000) / 1000


def kv_cache_gib(config: Mapping[str, Any] | None, share_gib: float, wanted: float | None) -> float | None:
    """Return the KV cache of a replica that shares its GPU; None: vLLM chooses it.

    vLLM chooses it by how the GPU's free memory changes during its start. That fails if another replica starts at the
    same time, so it is set here.

    Raises:
        DoesNotFit: weights and reserve leave no memory.
    """
    if wanted is not None or config is None:
        return wanted
    weights = parameters(config) * BYTES_EACH / 2**30
    cache = share_gib - weights - RESERVE_GIB
    if cache <= 0:
        raise DoesNotFit(
            f"{share_gib:.1f} GiB of the GPU for each replica are too little for {weights:.1f} GiB of weights and"
            f" {RESERVE_GIB:g} GiB of reserve: measure one replica (--replicas 1)"
        )
    return cache
