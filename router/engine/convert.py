"""`python -m router.engine.convert FILE.gguf FOLDER`: a GGUF file becomes a folder that vLLM can serve.

Runs as a process of its own: its imports take seconds and a gigabyte of memory.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from pathlib import Path


def main(file: Path, folder: Path) -> None:
    """Convert into FOLDER, or do nothing where another process has just done so.

    FOLDER appears whole or not at all: it is written beside, under a lock, and then renamed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return
        unfinished = Path(f"{folder}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        convert(file, unfinished)
        unfinished.rename(folder)


def convert(file: Path, folder: Path) -> None:
    """Write the model's weights as float32, with its tokenizer and chat template, into a new folder."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415 - seconds

    source = str(file.parent)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=file.name).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
