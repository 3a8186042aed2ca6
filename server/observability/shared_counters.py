"""Counters in shared memory: one set for each process, which every process of the gateway can read.

Only the owner writes its counters, without a lock, so everything is counted exactly once. Nothing is lost when the
owner dies: its successor continues in the same cells. An entry is created on its first use and stays:

    length of the name and labels in bytes | number of cells | name and labels, padded | cells ...
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from router.replicas.shared_memory import CELL_BYTES, MAX_CELL, Lock, cells

log = logging.getLogger("smallfirst.shared_counters")

SIZE_BYTES = 16 * 2**20  # of address space; unused pages take no memory
OVERFLOW_CELLS = 64  # for entries that find no room: these cells are written, but never read
SEPARATOR = "\0"

Labels = tuple[str, ...]
Key = tuple[str, ...]
"""a name and its label values"""


class Entry(NamedTuple):
    """The position of a key's cells."""

    start: int
    size: int


class SharedCounters:
    """The cells of one process and, from the moment it died, of its successor."""

    def __init__(self, size_bytes: int = SIZE_BYTES) -> None:
        self.cells = cells(size_bytes // CELL_BYTES)
        """`cells[0]` is how many cells are in use; the others belong to the entries"""
        self._lock = Lock()  # not for exclusion, but as a memory barrier: no processor sees an entry before its content
        self._entries: dict[Key, Entry] = {}
        self._next_entry = 1 + OVERFLOW_CELLS
        self._is_full = False

    def allocate(self, key: Key, size: int = 1) -> int:
        """Return the index of a key's first cell. A new key gets cells of value 0. For the owner only.

        If there is no room, that is logged once, and the returned cells are never read.
        """
        if found := self.entries().get(key):
            return found.start
        name = SEPARATOR.join(key).encode()
        start = self._next_entry + 2 + -(-len(name) // CELL_BYTES)
        if size > OVERFLOW_CELLS or start + size > len(self.cells):
            if not self._is_full:
                self._is_full = True
                log.error(
                    "no room for more metrics: new ones are not counted from now on; the first of them is %s", key
                )
            return 1
        padded = name.ljust((start - self._next_entry - 2) * CELL_BYTES, b"\0")
        self.cells[self._next_entry], self.cells[self._next_entry + 1] = len(name), size
        self.cells[self._next_entry + 2 : start] = memoryview(padded).cast("q")
        self.cells[start : start + size] = memoryview(bytes(size * CELL_BYTES)).cast(
            "q"
        )  # a dead owner may have left an unfinished entry
        with self._lock:
            self.cells[0] = start + size
        return self.entries()[key].start

    def add(self, cell: int, amount: int) -> None:
        """Add to a cell. On overflow the cell stays at the largest number. For the owner only."""
        try:
            self.cells[cell] += amount
        except ValueError:
            self.cells[cell] = MAX_CELL

    def clear(self, key: Key) -> None:
        """Set the cells of a key to 0, because the process whose state they described has ended."""
        if entry := self.entries().get(key):
            for cell in range(entry.start, entry.start + entry.size):
                self.cells[cell] = 0

    def entries(self) -> Mapping[Key, Entry]:
        """Return all present entries."""
        if self.cells[0] > self._next_entry:
            with self._lock:
                end = self.cells[0]
            while self._next_entry < end:
                self._read_next_entry()
        return self._entries

    def values(self, entry: Entry) -> list[int]:
        """Return the present values of an entry's cells."""
        return self.cells[entry.start : entry.start + entry.size].tolist()

    def _read_next_entry(self) -> None:
        length, size = self.cells[self._next_entry], self.cells[self._next_entry + 1]
        start = self._next_entry + 2 + -(-length // CELL_BYTES)
        name = bytes(self.cells[self._next_entry + 2 : start])[:length].decode()
        self._entries[tuple(name.split(SEPARATOR))] = Entry(start, size)
        self._next_entry = start + size


def sum_counters(worker_counters: Iterable[SharedCounters]) -> dict[str, dict[Labels, list[int]]]:
    """Return name -> label values -> cells. Each cell is the sum over all processes."""
    sums: dict[str, dict[Labels, list[int]]] = {}
    for counters in worker_counters:
        for (name, *labels), entry in counters.entries().items():
            values = counters.values(entry)
            by_labels = sums.setdefault(name, {})
            if earlier := by_labels.get(key := tuple(labels)):
                values = [a + b for a, b in zip(earlier, values, strict=True)]
            by_labels[key] = values
    return sums
