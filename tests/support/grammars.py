"""Grammars for the tests, and the grammar worker processes that run now."""

import asyncio
import contextlib
import json
import os
from pathlib import Path

TAG = json.dumps(
    {"structures": [{"begin": "<call>", "schema": {"type": "integer"}, "end": "</call>"}], "triggers": ["<call"]}
)
ENDLESS = 'start: a\na: "a" | "aa" | a a'
"""so ambiguous that a thousand letters take a minute"""


def worker_pids() -> list[int]:
    """Return the ids of the running worker processes, which are children of this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid() and b"router.structured.grammar_worker" in words:
            found.append(int(folder.name))
    return found


async def is_busy(besides: int = 0) -> int:
    """Wait for a process to have begun with a request that never ends; return its id, which is not `besides`."""
    while True:
        for pid in worker_pids():
            with contextlib.suppress(OSError):  # it was killed, and is gone meanwhile
                if pid != besides and cpu_ticks(pid) > 60:  # starting takes 20
                    return pid
        await asyncio.sleep(0.02)


def cpu_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
