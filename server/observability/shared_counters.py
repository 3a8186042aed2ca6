"""Counts that every process of the gateway can read, each under a name and label values: one set a process.

Only its owner writes its counters, without a lock, so what is counted is counted exactly once. Nothing is lost when the
owner dies: its successor goes on in the same cells. An entry is made on its first use, and stays:

    length of the name and labels in bytes | number of cells | name and labels, padded | cells ...
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from router.replicas.shared_memory import CELL_BYTES, LARGEST, Lock, cells

log = logging.getLogger("smallfirst.shared_counters")

SIZE_BYTES = 16 * 2**20  # of address space: what is not used takes no memory
OVERFLOW_CELLS = 64  # for what finds no room: written, never read
SEPARATOR = "\0"

Labels = tuple[str, ...]
Key = tuple[str, ...]
"""a name and its label values"""


class Entry(NamedTuple):
    """Where a key's cells are."""

    start: int
    size: int


class SharedCounters:
    """The cells of one process and, from the moment it died, of its successor."""

    def __init__(self, size_bytes: int = SIZE_BYTES) -> None:
        self.cells = cells(size_bytes // CELL_BYTES)
        """`cells[0]` is how many are in use; those behind it belong to the entries"""
        self._lock = Lock()  # not for exclusion: so that no processor sees the end of an entry before its beginning
        self._entries: dict[Key, Entry] = {}
        self._next_entry = 1 + OVERFLOW_CELLS
        self._is_full = False

    def allocate(self, key: Key, size: int = 1) -> int:
        """Return where the cells of a key begin; a new one's are 0. For the owner only.

        Where there is no room for it, that is logged once, and the cells are none that anybody reads.
        """
        if found := self.entries().get(key):
            return found.start
        name = SEPARATOR.join(key).encode()
        start = self._next_entry + 2 + -(-len(name) // CELL_BYTES)
        if size > OVERFLOW_CELLS or start + size > len(self.cells):
            if not self._is_full:
                self._is_full = True
                log.error("no room for more metrics: from here on, new ones are not counted; first of them: %s", key)
            return 1
        padded = name.ljust((start - self._next_entry - 2) * CELL_BYTES, b"\0")
        self.cells[self._next_entry], self.cells[self._next_entry + 1] = len(name), size
        self.cells[self._next_entry + 2 : start] = memoryview(padded).cast("q")
        self.cells[start : start + size] = memoryview(bytes(size * CELL_BYTES)).cast("q")  # a dead owner's may be there
        with self._lock:
            self.cells[0] = start + size
        return self.entries()[key].start

    def add(self, at: int, amount: int) -> None:
        """Add to a cell of the owner's; what is beyond all bounds stays at the largest number."""
        try:
            self.cells[at] += amount
        except ValueError:
            self.cells[at] = LARGEST

    def clear(self, key: Key) -> None:
        """Set the cells of a key to 0: what they said of a process has ended with it."""
        if entry := self.entries().get(key):
            for at in range(entry.start, entry.start + entry.size):
                self.cells[at] = 0

    def entries(self) -> Mapping[Key, Entry]:
        """Return every entry there is now."""
        if self.cells[0] > self._next_entry:
            with self._lock:
                end = self.cells[0]
            while self._next_entry < end:
                self._read_next_entry()
        return self._entries

    def values(self, entry: Entry) -> list[int]:
        """Return an entry's cells as they are now."""
        return self.cells[entry.start : entry.start + entry.size].tolist()

    def _read_next_entry(self) -> None:
        length, size = self.cells[self._next_entry], self.cells[self._next_entry + 1]
        start = self._next_entry + 2 + -(-length // CELL_BYTES)
        name = bytes(self.cells[self._next_entry + 2 : start])[:length].decode()
        self._entries[tuple(name.split(SEPARATOR))] = Entry(start, size)
        self._next_entry = start + size


def sum_counters(worker_counters: Iterable[SharedCounters]) -> dict[str, dict[Labels, list[int]]]:
    """Return name -> label values -> cells, each the sum over all tallies."""
    sums: dict[str, dict[Labels, list[int]]] = {}
    for counters in worker_counters:
        for (name, *labels), entry in counters.entries().items():
            values = counters.values(entry)
            by_labels = sums.setdefault(name, {})
            if earlier := by_labels.get(key := tuple(labels)):
                values = [a + b for a, b in zip(earlier, values, strict=True)]
            by_labels[key] = values
    return sums
