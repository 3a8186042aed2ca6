"""Which streams a gateway let go by their beginning: its log says so, its clients are not told."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.routing.replay import decisions

DECISIONS = "decisions.jsonl"
"""beside the answers: the lines of the access log that tell of a learned policy"""


def keep(log: Path, out: Path) -> None:
    """Append what a gateway has logged of its decisions; no log: it had nothing to answer."""
    if log.exists():
        with (out / DECISIONS).open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in decisions(log))


def let_go_early(out: Path) -> set[str]:
    """Return the ids of the requests of which a beginning was sure enough."""
    if not (out / DECISIONS).exists():
        return set()
    return {
        line["request_id"]
        for line in decisions(out / DECISIONS)
        for one in line["learned"].get("judged", ())
        if one.get("beginning") and one["accepted"]
    }
