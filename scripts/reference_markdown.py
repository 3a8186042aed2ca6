"""The little Markdown that generated pages need."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. Line breaks within a cell become spaces."""
    lines = [_row(columns), "|" + " --- |" * len(columns), *map(_row, rows)]
    return "\n".join(lines)


def code(text: object) -> str:
    """Return the text as code."""
    return f"`{text}`"


def anchor(heading: str) -> str:
    """Return the fragment that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sentence(text: str) -> str:
    """Return the text as a sentence: with a capital letter, except in vLLM, and a full stop."""
    text = " ".join(text.split())
    if not text:
        return ""
    start = text[0] if text.startswith("vLLM") else text[0].upper()
    return start + text[1:] + ("" if text.endswith((".", "!", "?", ":")) else ".")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
