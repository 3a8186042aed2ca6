"""The machine's NVIDIA GPUs, which of them a replica gets, and whether the shares of their memory fit."""

from __future__ import annotations

# ruff: noqa: S603 - the command is our own
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable

from router.config import Model
from router.errors import ConfigError

DEFAULT_MEMORY_SHARE = 0.92  # vLLM's own default of --gpu-memory-utilization
ROUNDING = 1e-9  # 0.7 + 0.2 + 0.1 is one


def gpu_count() -> int:
    """Return how many NVIDIA GPUs vLLM can use here; an empty `CUDA_VISIBLE_DEVICES` hides them all."""
    nvidia_smi = shutil.which("nvidia-smi")
    if nvidia_smi is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return 0
    try:
        listing = subprocess.run([nvidia_smi, "--list-gpus"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())


def gpu_present() -> bool:
    """Return whether there is an NVIDIA GPU for vLLM."""
    return gpu_count() > 0


def replica_gpus(model: Model, index: int) -> tuple[int, ...]:
    """Return the GPUs of one replica: its slice of the model's `gpus`, starting again where they end.

    A replica takes tensor_parallel_size x pipeline_parallel_size of them; without `gpus`, the first ones.
    """
    size = int(_number(model, "tensor_parallel_size", 1)) * int(_number(model, "pipeline_parallel_size", 1))
    gpus = model.gpus or tuple(range(size))
    return tuple(gpus[(index * size + offset) % len(gpus)] for offset in range(size))


def check_gpus(models: Iterable[Model], count: int) -> None:
    """Check that the managed models fit the machine's `count` GPUs.

    Raises:
        ConfigError: a GPU that is not there, a replica with too few of them, or shares of one GPU's memory
            (`vllm_args.gpu_memory_utilization`) that add up to more than all of it.
    """
    users: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for model in models:
        if count == 0:
            if model.gpus:
                raise ConfigError(f"models.{model.name}.gpus: this machine has no NVIDIA GPU that vLLM could use")
            continue
        share = _number(model, "gpu_memory_utilization", DEFAULT_MEMORY_SHARE)
        for index in range(model.replicas):
            gpus = replica_gpus(model, index)
            if len(set(gpus)) < len(gpus):
                raise ConfigError(
                    f"models.{model.name}.gpus: one replica needs {len(gpus)} GPUs"
                    f" (tensor_parallel_size x pipeline_parallel_size), got {list(model.gpus)}"
                )
            for gpu in gpus:
                if gpu >= count:
                    raise ConfigError(
                        f"models.{model.name}.gpus: there is no GPU {gpu}: this machine has {count}, counted from 0"
                    )
                users[gpu].append((f"{model.name}/{index}", share))
    for gpu, shares in sorted(users.items()):
        total = sum(share for _, share in shares)
        if total > 1 + ROUNDING:
            terms = " + ".join(f"{share:g} ({name})" for name, share in shares)
            raise ConfigError(
                f"GPU {gpu}: the shares of its memory add up to {total:.2f}, more than 1: {terms}."
                " Set vllm_args.gpu_memory_utilization of these models, or give them other `gpus`"
            )


def _number(model: Model, key: str, default: float) -> float:
    value = model.vllm_args.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise ConfigError(f"models.{model.name}.vllm_args.{key}: expected a number above 0, got {value!r}")
    return value
