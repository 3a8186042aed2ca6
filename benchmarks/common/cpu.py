"""CPU seconds of other processes, read from the kernel's nanosecond clocks. Linux only."""

from __future__ import annotations

import time
from pathlib import Path


def seconds(pid: int) -> float:
    """Return the CPU seconds, user and system, that all threads of a process have used since it started.

    Raises:
        ProcessLookupError: there is no such process.
    """
    # the CPUCLOCK_SCHED clock of another process, built as clock_getcpuclockid(3) does; /proc counts ticks of 10 ms
    try:
        return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
    except OSError:
        raise ProcessLookupError(f"no process {pid}") from None


def tree(root: int) -> list[int]:
    """Return `root` and the ids of all its current descendants.

    Raises:
        ProcessLookupError: there is no such process.
    """
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
            except OSError:
                continue  # it has ended
            children.setdefault(int(parent), []).append(int(entry.name))
    if not Path(f"/proc/{root}").exists():
        raise ProcessLookupError(f"no process {root}")
    found = [root]
    for pid in found:  # the list grows during the loop
        found += children.get(pid, [])
    return found


class Meter:
    """Counts the CPU seconds that a process tree uses between two readings."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._before = self._read()

    def lap(self) -> float:
        """Return the seconds since the last lap or the start. A new process counts from its beginning.

        Raises:
            ProcessLookupError: a process of the tree has ended, so its CPU time is lost.
        """
        now = self._read()
        if ended := self._before.keys() - now.keys():
            raise ProcessLookupError(f"of the processes below {self._root}, these have ended: {sorted(ended)}")
        used = sum(now.values()) - sum(self._before.values())
        self._before = now
        return used

    def _read(self) -> dict[int, float]:
        return {pid: seconds(pid) for pid in tree(self._root)}
