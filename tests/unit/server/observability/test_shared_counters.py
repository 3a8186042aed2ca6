from __future__ import annotations

import copy
import os
import signal
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from router.replicas.shared_memory import MAX_CELL
from server.observability import shared_counters
from server.observability.shared_counters import OVERFLOW_CELLS, SharedCounters

KEYS = st.tuples(
    st.sampled_from(["requests", "tokens", "é\n"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9),
)
SIZES = {"requests": 1, "tokens": 3, "é\n": 20}


def read(one: SharedCounters) -> dict[tuple[str, ...], list[int]]:
    return {key: one.values(entry) for key, entry in one.entries().items()}


def successor(of: SharedCounters) -> SharedCounters:
    """What a new process sees: the same cells, and nothing of what the dead one had in mind."""
    new = copy.copy(of)
    new._entries = {}
    new._next_entry = 1 + OVERFLOW_CELLS
    return new


def test_an_entry_is_made_on_its_first_use_and_stays() -> None:
    one = SharedCounters(8192)
    assert read(one) == {}
    at = one.allocate(("requests", "auto"), 2)
    assert one.allocate(("requests", "auto"), 2) == at
    one.add(at + 1, 5)
    one.add(at + 1, 0)
    assert read(one) == {("requests", "auto"): [0, 5]}
    one.clear(("requests", "auto"))
    one.clear(("unknown",))
    assert read(one) == {("requests", "auto"): [0, 0]}


def test_what_is_beyond_all_bounds_stays_there() -> None:
    one = SharedCounters(8192)
    at = one.allocate(("tokens",))
    for amount in (MAX_CELL, 1, MAX_CELL, 10**300):
        one.add(at, amount)
        assert read(one) == {("tokens",): [MAX_CELL]}


def test_when_it_is_full_that_is_said_once_and_the_rest_still_counts(caplog: pytest.LogCaptureFixture) -> None:
    one = SharedCounters(1024)
    reader = successor(one)
    counted = 0
    for number in range(100):
        at = one.allocate(("requests", str(number)), 2)
        one.add(at, 1)
        one.add(at + 1, MAX_CELL)
    for number in range(100):
        one.add(one.allocate(("requests", str(number)), 2), 1)
    assert caplog.text.count("no room for more metrics") == 1
    for values in read(reader).values():
        assert values == [2, MAX_CELL]
        counted += 1
    assert 0 < counted < 100
    assert len(one.cells) == 128


def test_one_that_is_larger_than_any_finds_no_room(caplog: pytest.LogCaptureFixture) -> None:
    one = SharedCounters()
    assert one.allocate(("huge",), OVERFLOW_CELLS + 1) == 1
    assert "no room" in caplog.text
    assert read(one) == {}


def test_an_entry_that_its_owner_did_not_finish_is_none() -> None:
    one = SharedCounters(8192)
    one.allocate(("requests", "auto"))
    free = one.cells[0]
    one.cells[free : free + 40] = memoryview(b"\xff" * 320).cast("q")  # a long name, some counts, no end
    new = successor(one)
    at = new.allocate(("tokens",), 3)
    assert read(new) == read(one) == {("requests", "auto"): [0], ("tokens",): [0, 0, 0]}
    new.add(at, 1)
    assert read(one)["tokens",] == [1, 0, 0]


def test_a_killed_process_loses_nothing_and_its_successor_goes_on() -> None:
    one = SharedCounters()
    for life in range(1, 4):
        pid = os.fork()
        if pid == 0:
            at = one.allocate(("requests", "auto"))
            one.allocate(("requests", str(life)))
            for _ in range(1000):
                one.add(at, 1)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(pid, 0)
        counts = read(one)
        assert counts["requests", "auto"] == [1000 * life]
        assert len(counts) == 1 + life


def test_what_is_not_used_takes_no_memory() -> None:
    assert shared_counters.SIZE_BYTES == 16 * 2**20

    def resident_kib() -> int:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    before = resident_kib()
    many = [SharedCounters() for _ in range(64)]
    for one in many:
        one.allocate(("requests",))
        one.entries()
    assert resident_kib() - before < 64 * 64


class Counting(RuleBasedStateMachine):
    """Any adds by any processes, which die and are followed, against one dictionary."""

    @initialize(workers=st.integers(1, 3))
    def start(self, workers: int) -> None:
        self.worker_counters = [SharedCounters(64 * 1024) for _ in range(workers)]
        self.readers = [successor(one) for one in self.worker_counters]  # in another process
        self.expected: dict[tuple[str, ...], list[int]] = {}

    @rule(data=st.data(), key=KEYS, amount=st.integers(0, 10**12))
    def add(self, data: Any, key: tuple[str, str], amount: int) -> None:
        worker = data.draw(st.integers(0, len(self.worker_counters) - 1))
        size = SIZES[key[0]]
        cell = data.draw(st.integers(0, size - 1))
        one = self.worker_counters[worker]
        one.add(one.allocate(key, size) + cell, amount)
        self.expected.setdefault(key, [0] * size)[cell] += amount

    @rule(data=st.data())
    def die(self, data: Any) -> None:
        worker = data.draw(st.integers(0, len(self.worker_counters) - 1))
        self.worker_counters[worker] = successor(self.worker_counters[worker])

    @rule(data=st.data())
    def die_while_an_entry_is_made(self, data: Any) -> None:
        worker = data.draw(st.integers(0, len(self.worker_counters) - 1))
        one = self.worker_counters[worker]
        free = one.entries() and one.cells[0]
        if free:
            one.cells[free : free + 8] = memoryview(data.draw(st.binary(min_size=64, max_size=64))).cast("q")
        self.worker_counters[worker] = successor(one)

    @invariant()
    def adds_up(self) -> None:
        for views in (self.worker_counters, self.readers):
            sums: dict[tuple[str, ...], list[int]] = {}
            for one in views:
                for key, values in read(one).items():
                    before = sums.get(key, [0] * len(values))
                    sums[key] = [a + b for a, b in zip(before, values, strict=True)]
            assert sums == self.expected


TestCounting = Counting.TestCase
