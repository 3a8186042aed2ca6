"""Memory and locks that a process has in common with those it forks. Both are made before the fork.

A cell is a 64-bit integer. One that a single process writes needs no lock: a read of it is never torn. What
several write, or what must be seen whole, is changed under a `Lock`.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from types import TracebackType

CELL_BYTES = 8
LARGEST = 2**63 - 1


def cells(count: int) -> memoryview:
    """Return so many cells, all 0. Pages that nobody touches take no memory."""
    return memoryview(mmap.mmap(-1, CELL_BYTES * count)).cast("q")


class Lock:
    """One process at a time: `with lock:`. The kernel frees it when its holder dies, however that ends.

    It keeps processes apart, not threads; and it is not taken twice, as the inner end would free it.
    """

    __slots__ = ("__weakref__", "_file", "_held")

    def __init__(self) -> None:
        self._file = os.memfd_create("smallfirst-lock")
        self._held = False
        weakref.finalize(self, os.close, self._file).atexit = False

    def __enter__(self) -> None:
        if self._held:
            raise RuntimeError("this process holds the lock already")
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        self._held = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = False
        fcntl.lockf(self._file, fcntl.LOCK_UN)
