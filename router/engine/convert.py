"""`python -m router.engine.convert FILE.gguf FOLDER`: converts a GGUF file into a folder that vLLM can serve.

It runs as a separate process, as its imports take seconds and a gigabyte of memory.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from pathlib import Path


def main(file: Path, folder: Path) -> None:
    """Convert the file into FOLDER. Do nothing if another process has just created it.

    FOLDER is created atomically: the output goes to a temporary folder, under a lock, which is then renamed.
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
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415 - takes seconds

    source = str(file.parent)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=file.name).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
