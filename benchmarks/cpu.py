"""CPU seconds of other processes, by the kernel's nanosecond clocks. Linux only."""

from __future__ import annotations

import time
from pathlib import Path


def seconds(pid: int) -> float:
    """Return the CPU seconds, user and system, that all threads of a process have had since it started.

    Raises:
        ProcessLookupError: there is no such process.
    """
    # CPUCLOCK_SCHED of another process, as clock_getcpuclockid(3) makes it; /proc counts in ticks of 10 ms
    try:
        return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
    except OSError:
        raise ProcessLookupError(f"no process {pid}") from None


def tree(root: int) -> list[int]:
    """Return `root` and the ids of all processes below it, as they are now.

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
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


class Meter:
    """CPU seconds that a process tree uses from one reading to the next."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._before = self._read()

    def lap(self) -> float:
        """Return the seconds since the last lap, or since the start; a new process counts from its beginning.

        Raises:
            ProcessLookupError: a process of the tree has ended, and nobody can say how much it used.
        """
        now = self._read()
        if ended := self._before.keys() - now.keys():
            raise ProcessLookupError(f"of the processes below {self._root}, these have ended: {sorted(ended)}")
        used = sum(now.values()) - sum(self._before.values())
        self._before = now
        return used

    def _read(self) -> dict[int, float]:
        return {pid: seconds(pid) for pid in tree(self._root)}
