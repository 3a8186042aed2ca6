"""Which streams a gateway released early, by their beginning. Only its log has this."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from benchmarks.common.processes import StartFailed
from benchmarks.routing.replay import decisions

DECISIONS = "decisions.jsonl"
"""beside the answers: the lines of the access log with a decision of a learned policy"""


def keep(log: Path, out: Path) -> None:
    """Append the decisions in a gateway's log. If there is no log, it had nothing to answer."""
    if log.exists():
        with (out / DECISIONS).open("a", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in decisions(log))


def released_early(out: Path, requests: Collection[str]) -> set[str]:
    """Return those of the request ids whose stream was released because its beginning was accepted.

    Raises:
        StartFailed: the log of some requests was lost, for instance because a run was killed.
    """
    file = out / DECISIONS
    logged = (
        {line["request_id"]: line["learned"].get("judged", ()) for line in decisions(file)} if file.exists() else {}
    )
    if lost := len(set(requests) - logged.keys()):
        raise StartFailed(f"{file} has no line for {lost} answered streams: start with an empty folder")
    return {name for name in requests if any(one.get("beginning") and one["accepted"] for one in logged[name])}
