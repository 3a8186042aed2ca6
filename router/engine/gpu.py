"""Finds the machine's NVIDIA GPUs, assigns them to replicas, and checks that their memory shares fit."""

from __future__ import annotations

# ruff: noqa: S603 - the command is fixed
import math
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from router.config.models import Model
from router.config.swap import SwapGroup
from router.errors import ConfigError

DEFAULT_MEMORY_SHARE = 0.92  # vLLM's own default of --gpu-memory-utilization
ROUNDING_TOLERANCE = 1e-9  # so that 0.7 + 0.2 + 0.1 counts as 1
PARALLEL_SIZE_ARGS = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "prefill_context_parallel_size",
)


def visible_gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the NVIDIA GPUs that an engine can use here, named as in CUDA_VISIBLE_DEVICES.

    If that is set, return the GPUs it lists (numbers or UUIDs) up to the first invalid entry, as CUDA does.
    Otherwise return all GPUs.
    """
    nvidia_smi = shutil.which("nvidia-smi")
    if nvidia_smi is None:
        return ()
    try:
        listing = subprocess.run([nvidia_smi, "--list-gpus"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    count = sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None or count == 0:
        return tuple(map(str, range(count)))
    visible: list[str] = []
    for name in map(str.strip, listed.split(",")):
        if not (name.startswith(("GPU-", "MIG-")) or (name.isdecimal() and int(name) < count)):
            break
        visible.append(name)
    return tuple(visible)


def gpu_present() -> bool:
    """Return whether an engine can use an NVIDIA GPU here."""
    return bool(visible_gpus(os.environ))


def replica_gpus(model: Model, index: int, count: int) -> tuple[int, ...]:
    """Return the GPUs of one replica: its slice of the model's `gpus`, wrapping around at their end.

    A replica uses as many GPUs as the product of its parallel sizes. Without `gpus`, the replicas share out all of the
    machine's `count`.
    """
    size = gpus_needed(model)
    gpus = model.gpus or tuple(range(count))
    return tuple(gpus[(index * size + offset) % len(gpus)] for offset in range(size))


def gpus_needed(model: Model) -> int:
    """Return how many GPUs one replica of the model uses."""
    return math.prod(model.vllm_args.get(key, 1) for key in PARALLEL_SIZE_ARGS)


def visible_to(model: Model, index: int, visible: Sequence[str]) -> tuple[str, ...]:
    """Return the GPUs that one replica uses, of those `visible` to this process. On a machine without one: none.

    Raises:
        ConfigError: the machine lacks one of the model's `gpus`.
    """
    if not visible and not model.gpus:
        return ()
    gpus = replica_gpus(model, index, len(visible))
    _check_gpus_exist(model, gpus, len(visible))
    return tuple(visible[gpu] for gpu in gpus)


def check_gpu_args(model: Model) -> None:
    """Check a managed model's GPU settings, independently of this machine.

    Raises:
        ConfigError: a parallel size or a memory share is invalid, or GPUs are listed twice, too few or too many.
    """
    where = model.where
    for key in PARALLEL_SIZE_ARGS:
        size = model.vllm_args.get(key, 1)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ConfigError(f"{where}.vllm_args.{key}: expected a whole number from 1, got {size!r}")
    share = _memory_share(model)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:  # rejects NaN too
        raise ConfigError(
            f"{where}.vllm_args.gpu_memory_utilization: expected a number above 0, at most 1, got {share!r}"
        )
    if not model.gpus:
        return
    if len(set(model.gpus)) < len(model.gpus):
        raise ConfigError(f"{where}.gpus: a GPU is listed twice in {list(model.gpus)}")
    needed = gpus_needed(model)
    if len(model.gpus) < needed:
        raise ConfigError(
            f"{where}.gpus: one replica needs {needed} GPUs ({' x '.join(PARALLEL_SIZE_ARGS)}), got {list(model.gpus)}"
        )
    if idle := model.gpus[needed * model.replicas :]:
        raise ConfigError(
            f"{where}.gpus: no replica would use {list(idle)}: replicas x GPUs per replica is {needed * model.replicas}"
        )


def check_gpus(models: Iterable[Model], count: int, groups: Collection[SwapGroup] = ()) -> None:
    """Check that the managed models fit the machine's `count` GPUs. Of a swap group, the `keep` largest ones count.

    Raises:
        ConfigError: the machine lacks a GPU, or the shares of one GPU's memory (`gpu_memory_utilization`) can add up
            to more than 1.
    """
    users: dict[int, list[tuple[Model, int]]] = defaultdict(list)
    for model in models:
        check_gpu_args(model)
        if count == 0:
            if model.gpus:
                raise ConfigError(f"{model.where}.gpus: this machine has no NVIDIA GPU that an engine can use")
            continue
        if (needed := gpus_needed(model)) > count:
            raise ConfigError(
                f"{model.where}.vllm_args: one replica needs {needed} GPUs ({' x '.join(PARALLEL_SIZE_ARGS)}),"
                f" this machine has {count}"
            )
        for index in range(model.replicas):
            gpus = replica_gpus(model, index, count)
            _check_gpus_exist(model, gpus, count)
            for gpu in gpus:
                users[gpu].append((model, index))
    for gpu, replicas in sorted(users.items()):
        sizes: dict[str, float] = defaultdict(float)
        for model, _ in replicas:
            sizes[model.name] += _memory_share(model)
        loaded = largest_together(sizes, groups)
        if (total := sum(loaded.values())) > 1 + ROUNDING_TOLERANCE:
            terms = " + ".join(
                f"{_memory_share(model):g} ({model.name}/{index})" for model, index in replicas if model.name in loaded
            )
            raise ConfigError(
                f"GPU {gpu}: the shares of its memory add up to {total:.2f}, more than 1: {terms}."
                " Set gpu_memory_utilization in the arguments of these models' engines, or give them other `gpus`"
            )


def largest_together(sizes: Mapping[str, float], groups: Iterable[SwapGroup]) -> dict[str, float]:
    """Return the sizes of the models that need the most of all that can be loaded at the same time."""
    kept = dict(sizes)
    for group in groups:
        members = sorted((name for name in group.models if name in kept), key=lambda name: -sizes[name])
        for name in members[group.keep :]:
            del kept[name]
    return kept


def _check_gpus_exist(model: Model, gpus: Iterable[int], count: int) -> None:
    for gpu in gpus:
        if gpu >= count:
            raise ConfigError(f"{model.where}.gpus: there is no GPU {gpu}: this machine has {count}, counted from 0")


def _memory_share(model: Model) -> float:
    share: float = model.engine_args.get("gpu_memory_utilization", DEFAULT_MEMORY_SHARE)
    return share
