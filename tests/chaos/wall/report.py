"""The page with the verdict of every scenario."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.machine import describe, machine_line
from benchmarks.common.report import table
from tests.chaos.wall.scenario import BOTH, Mode, Verdict

HEAD = """\
# The fault wall

`make chaos` plays these scenarios against one gateway with scripted upstreams, and writes this page. What each of them
does is in `tests/chaos/wall`. [faults.md](faults.md) says which test shows which behaviour.

- **pass**: the client gets a complete and right answer, or exactly the error that is right for what happened.
- **partial**: it gets an answer with a loss, and the answer says so.
- **safe**: it gets an honest error in OpenAI's form, where an answer was possible.
- **fail**: anything else, and whatever leaves something behind. After each scenario no request is in flight at any
  replica, and the gateway's process holds no socket and no task more than before.
"""


VERDICTS = {str(verdict) for verdict in Verdict}


class Row(NamedTuple):
    """What a scenario came to in one mode."""

    group: str
    name: str
    mode: Mode
    verdict: Verdict


def write_page(file: Path, rows: list[Row]) -> None:
    """Write the page."""
    file.write_text(page(rows, machine_line(describe(()))), encoding="utf-8")


def page(rows: list[Row], where: str) -> str:
    """Return the page: a count, and a table for each group."""
    verdicts: dict[str, dict[str, dict[Mode, Verdict]]] = {}
    for row in rows:
        verdicts.setdefault(row.group, {}).setdefault(row.name, {})[row.mode] = row.verdict
    scenarios = sum(len(group) for group in verdicts.values())
    counted = Counter(row.verdict for row in rows)
    ends = ", ".join(f"{counted[verdict]} {verdict}" for verdict in sorted(Verdict, reverse=True))
    lines = [HEAD, f"{where}.", "", f"{scenarios} scenarios, {len(rows)} runs: {ends}.", ""]
    for group, found in verdicts.items():
        cells = [[name, *(str(modes.get(mode, "")) for mode in BOTH)] for name, modes in found.items()]
        lines += [f"## {group[0].upper()}{group[1:]}", "", *table(("scenario", *BOTH), cells, left=3), ""]
    return "\n".join(lines)


def read(text: str) -> list[Row]:
    """Return the rows of a page."""
    rows = []
    for section in text.split("\n## ")[1:]:
        title, _, lines = section.partition("\n")
        for name, *words in re.findall(r"^\| (.+) \| (\w*) \| (\w*) \|$", lines, re.MULTILINE):
            cells = zip(BOTH, words, strict=True)
            rows += [
                Row(title[0].lower() + title[1:], name, mode, Verdict[word.upper()])
                for mode, word in cells
                if word in VERDICTS
            ]
    return rows
