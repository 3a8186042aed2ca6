"""Writes a report's three files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.vllm.plot import NoMatplotlib

Draw = Callable[[dict[str, Any], Path], None]
Markdown = Callable[[dict[str, Any], bool], str]
Say = Callable[[str], None]

JSON, TEXT, PICTURE = "report.json", "report.md", "report.png"


def write(report: dict[str, Any], folder: Path, say: Say, *, draw: Draw, markdown: Markdown) -> None:
    """Write report.json, report.md and, where matplotlib is installed, report.png."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in report.items())
    (folder / JSON).write_text(f"{{\n{entries}\n}}\n", encoding="utf-8")  # not a line for each of thousands of times
    picture = folder / PICTURE
    picture.unlink(missing_ok=True)  # that of another run
    try:
        draw(report, picture)
    except NoMatplotlib as error:
        say(str(error))
    (folder / TEXT).write_text(markdown(report, picture.exists()), encoding="utf-8")
    say(f"wrote {', '.join(str(folder / name) for name in (JSON, TEXT, PICTURE) if (folder / name).exists())}")


def redraw(folder: Path, say: Say, *, draw: Draw, markdown: Markdown) -> None:
    """Write the text and the picture of the report in a folder again."""
    write(read(folder), folder, say, draw=draw, markdown=markdown)


def read(folder: Path) -> dict[str, Any]:
    """Return the report that lies in a folder."""
    report: dict[str, Any] = json.loads((folder / JSON).read_text(encoding="utf-8"))
    return report
