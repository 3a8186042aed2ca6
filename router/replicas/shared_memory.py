"""Memory and locks that a process shares with the processes that it forks. Both are created before the fork.

A cell is a 64-bit integer. A cell with a single writer needs no lock, because reads are never torn. Cells with several
writers, and cells that must be consistent with each other, are changed under a `Lock`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from types import TracebackType

CELL_BYTES = 8
MAX_CELL = 2**63 - 1


def cells(count: int) -> memoryview:
    """Return `count` cells, all 0. Untouched pages take no memory."""
    return memoryview(mmap.mmap(-1, CELL_BYTES * count)).cast("q")


class Lock:
    """Mutual exclusion between processes: `with lock:`. The kernel frees it when its holder dies for any reason.

    It does not exclude threads. It is not reentrant: the inner exit would free it.
    """

    __slots__ = ("__weakref__", "_file", "_held")

    def __init__(self) -> None:
        self._file = os.memfd_create("smallfirst-lock")
        self._held = False
        weakref.finalize(self, os.close, self._file).atexit = False

    def __enter__(self) -> None:
        if self._held:
            raise RuntimeError("this process already holds the lock")
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        self._held = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = False
        fcntl.lockf(self._file, fcntl.LOCK_UN)
