"""The folder of a LoRA adapter in PEFT's format: is it complete, what does it need, and when was it changed?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from router.errors import EngineError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_HEADER_BYTES = 100_000_000  # of a safetensors file
LENGTH_BYTES = 8  # its first bytes: the length of the header

Fingerprint = tuple[tuple[int, int, int], ...]
"""inode, modification time and size of each file"""


class Adapter(NamedTuple):
    """What an adapter says about itself."""

    rank: int
    """the highest rank of its layers"""
    base_model: str
    """the model that it was trained on, or an empty text"""


def fingerprint(folder: Path) -> Fingerprint | None:
    """Return a value that differs when a file of the adapter has changed, or None if a file is missing."""
    try:
        found = [(folder / name).stat() for name in (CONFIG, WEIGHTS)]
    except OSError:
        return None
    return tuple((file.st_ino, file.st_mtime_ns, file.st_size) for file in found)


def read_adapter(folder: Path) -> Adapter:
    """Check that an adapter is complete, and return what it says about itself.

    Raises:
        EngineError: a file is missing, cut or not in the format. The message names it.
    """
    if not folder.is_dir():
        raise EngineError(f"{folder}: no such folder")
    try:
        adapter = parse_config((folder / CONFIG).read_bytes())
        check_weights(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise EngineError(f"{error.filename}: no such file; an adapter has {CONFIG} and {WEIGHTS}") from None
    except OSError as error:
        raise EngineError(f"{error.filename}: {error.strerror}") from None
    except ValueError as error:
        raise EngineError(f"{folder}: {error}") from None
    return adapter


def parse_config(content: bytes) -> Adapter:
    """Parse `adapter_config.json`. The engine checks the keys that are not needed here.

    Raises:
        ValueError: it is not the configuration of a LoRA adapter. The message says why.
    """
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{CONFIG} is not valid JSON") from None
    if not isinstance(config, dict):
        raise ValueError(f"{CONFIG}: expected an object")
    if config.get("peft_type", "LORA") != "LORA":
        raise ValueError(f"{CONFIG}: peft_type: expected LORA, got {str(config['peft_type'])[:40]!r}")
    patterns = config.get("rank_pattern") or {}
    ranks = [config.get("r"), *(patterns.values() if isinstance(patterns, dict) else [None])]
    if not all(type(rank) is int and rank > 0 for rank in ranks):
        raise ValueError(f"{CONFIG}: expected ranks in `r` and `rank_pattern`: whole numbers above 0")
    base = config.get("base_model_name_or_path")
    return Adapter(max(ranks), base if isinstance(base, str) else "")


def check_weights(file: Path) -> None:
    """Check that a safetensors file has the length that its header says.

    Raises:
        OSError: it cannot be read.
        ValueError: it is cut, or not in the format.
    """
    size = file.stat().st_size
    with file.open("rb") as content:
        length = int.from_bytes(content.read(LENGTH_BYTES), "little")
        header = content.read(length) if length <= min(size, MAX_HEADER_BYTES) else b""
    try:
        tensors: dict[str, Any] = json.loads(header)
        end = max((int(tensor["data_offsets"][1]) for name, tensor in tensors.items() if name != "__metadata__"))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise ValueError(f"{WEIGHTS} is not a safetensors file, or it is cut") from None
    if size != LENGTH_BYTES + length + end:
        raise ValueError(f"{WEIGHTS} has {size} bytes, but its header says {LENGTH_BYTES + length + end}")
