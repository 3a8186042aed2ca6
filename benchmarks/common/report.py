"""Writing a report: report.json, report.md and report.png, and the last two again from the first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common.plot import NoMatplotlib

Say = Callable[[str], None]
"""prints a line of progress"""

JSON, TEXT, PICTURE = "report.json", "report.md", "report.png"


class Renderer(NamedTuple):
    """How a report is shown to people."""

    markdown: Callable[[dict[str, Any], bool], str]
    """gets the report and whether there is a picture beside it"""
    draw: Callable[[dict[str, Any], Path], object] | None = None
    """writes the picture, or no file if there is nothing to draw"""


def write(report: dict[str, Any], folder: Path, renderer: Renderer, say: Say) -> None:
    """Write report.json, report.md and, if matplotlib is installed, report.png."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(report, folder / JSON)
    picture = folder / PICTURE
    picture.unlink(missing_ok=True)  # from another run
    if renderer.draw:
        try:
            renderer.draw(report, picture)
        except NoMatplotlib as error:
            say(str(error))
    (folder / TEXT).write_text(renderer.markdown(report, picture.exists()), encoding="utf-8")
    say(f"wrote {', '.join(str(folder / name) for name in (JSON, TEXT, PICTURE) if (folder / name).exists())}")


def redraw(folder: Path, renderer: Renderer, say: Say) -> None:
    """Write the text and the picture again from the report.json in a folder."""
    write(read(folder), folder, renderer, say)


def read(folder: Path) -> dict[str, Any]:
    """Return the report in a folder."""
    report: dict[str, Any] = json.loads((folder / JSON).read_text(encoding="utf-8"))
    return report


def write_json(document: Mapping[str, Any], file: Path) -> None:
    """Write an object with one line for each of its keys: one for each number would be thousands of lines."""
    entries = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in document.items())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{{\n{entries}\n}}\n", encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> Iterator[str]:
    """Yield the lines of a Markdown table: the first `left` columns are left-aligned, the others right-aligned."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * left}{'--:|' * (len(head) - left)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
