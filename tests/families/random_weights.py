"""`python -m tests.families.random_weights FOLDER ...`: writes random weights beside each folder's `config.json`.

A program of its own: its imports take seconds and a gigabyte.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

SEED = 1


def main(folders: list[Path]) -> None:
    """Write `model.safetensors` into each folder."""
    for folder in folders:
        write_weights(folder)


def write_weights(folder: Path) -> None:
    """Build the model that `config.json` describes, and save its weights alone: the configuration stays as written."""
    import torch
    import transformers

    [name] = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.manual_seed(SEED)
    model = getattr(transformers, name)(config)
    with tempfile.TemporaryDirectory(dir=folder) as saved:
        model.save_pretrained(saved)
        (Path(saved) / "model.safetensors").rename(folder / "model.safetensors")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
