"""Whether the managed models can fit into the memory of a machine without a GPU."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from router.config.models import Model
from router.config.swap import SwapGroup
from router.engine.gpu import largest_together
from router.engine.launchers import GIB, KV_CACHE_VARIABLE, LAUNCHERS
from router.engine.source import HubModel, LocalPath, PackageFile, locate, parse
from router.errors import ConfigError

WEIGHTS = (".safetensors", ".bin", ".gguf")


def check_memory(
    models: Sequence[Model], groups: Collection[SwapGroup], environ: Mapping[str, str], total_bytes: int
) -> None:
    """Check that the models which can be loaded at the same time fit into `total_bytes` of memory.

    Only a lower limit is known: the KV caches, and weights that are on this machine already.

    Raises:
        ConfigError: they cannot fit. The message has the sum.
    """
    sizes = {
        model.name: (LAUNCHERS[model.engine].reserved_bytes(environ) + weights_bytes(model)) * model.replicas
        for model in models
    }
    loaded = largest_together(sizes, groups)
    if (needed := sum(loaded.values())) > total_bytes:
        terms = " + ".join(f"{size / GIB:.1f} ({name})" for name, size in loaded.items())
        raise ConfigError(
            f"models: KV caches and weights need at least {needed / GIB:.1f} GiB of memory, more than this machine's"
            f" {total_bytes / GIB:.1f}: {terms}. Put models into a `swap` group, or set {KV_CACHE_VARIABLE} (GiB)"
        )


def total_memory() -> int:
    """Return the bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def weights_bytes(model: Model) -> float:
    """Return the size of a model's weights on this machine, or 0 if they are still on the hub."""
    match parse(model):
        case HubModel():
            return 0
        case LocalPath(path=path):
            pass
        case PackageFile() as file:
            path = locate(file)
    files = path.iterdir() if path.is_dir() else (path,)
    return sum(_size(file) for file in files if file.suffix in WEIGHTS)


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0
