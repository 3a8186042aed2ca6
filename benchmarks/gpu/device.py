"""The GPU, as nvidia-smi describes it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

QUERY = ("name", "memory.total", "driver_version", "power.limit", "compute_cap")


class NoGpu(Exception):
    """There is no usable NVIDIA GPU; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: memory in GiB, power in watts as nvidia-smi writes it."""

    name: str
    memory_gib: float
    driver: str
    power_limit_w: str
    compute_capability: str


def find(visible: tuple[str, ...], index: int) -> Gpu:
    """Return the GPU with this index among the visible ones, which are named as in CUDA_VISIBLE_DEVICES.

    Raises:
        NoGpu: there is none.
    """
    command = shutil.which("nvidia-smi")
    if command is None or not visible:
        why = "there is no nvidia-smi" if command is None else "nvidia-smi lists no usable GPU"
        raise NoGpu(f"no NVIDIA GPU here ({why}); to try the whole path without one: --device cpu --tiny")
    if index >= len(visible):
        raise NoGpu(f"there is no GPU {index} here: {len(visible)} are visible, counted from 0")
    query = [command, f"--id={visible[index]}", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise NoGpu(f"nvidia-smi does not describe GPU {index}: {error}") from None
    return parse(output)


def parse(line: str) -> Gpu:
    """Read a line of nvidia-smi's output for `QUERY`.

    Raises:
        NoGpu: it has another form.
    """
    values = [value.strip() for value in line.strip().split(",")]
    try:
        name, memory_mib, driver, power, capability = values
        return Gpu(name, float(memory_mib) / 1024, driver, power, capability)
    except ValueError:
        raise NoGpu(f"nvidia-smi printed something unexpected: {line.strip()!r}") from None
