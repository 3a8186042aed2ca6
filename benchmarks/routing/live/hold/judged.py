"""Which streams a gateway let go by their beginning: its log says so, its clients are not told."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from benchmarks.routing.replay import decisions
from benchmarks.vllm.launch import StartFailed

DECISIONS = "decisions.jsonl"
"""beside the answers: the lines of the access log that tell of a learned policy"""


def keep(log: Path, out: Path) -> None:
    """Append what a gateway has logged of its decisions; no log: it had nothing to answer."""
    if log.exists():
        with (out / DECISIONS).open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in decisions(log))


def let_go_early(out: Path, asked: Collection[str]) -> set[str]:
    """Return the ids of the requests of which a beginning was sure enough, of those asked.

    Raises:
        StartFailed: of some the log was lost, as where a run was killed: nobody knows any more.
    """
    file = out / DECISIONS
    told = {line["request_id"]: line["learned"].get("judged", ()) for line in decisions(file)} if file.exists() else {}
    if lost := len(set(asked) - told.keys()):
        raise StartFailed(f"{file} does not tell of {lost} streams that were answered: begin with an empty folder")
    return {name for name in asked if any(one.get("beginning") and one["accepted"] for one in told[name])}
