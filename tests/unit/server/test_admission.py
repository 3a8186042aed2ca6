"""Admission under every order of grants, time-outs and cancellations. Time is virtual: nothing here waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.errors import Overloaded
from server.admission import Admission


class VirtualSelector(selectors.SelectSelector):
    """Where an event loop would wait for its next timer, time goes forward instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits and nothing will ever happen"
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = VirtualSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now

    def tick(self) -> None:
        """Run what is ready now, once."""
        self.call_soon(self.stop)
        self.run_forever()

    def timers(self) -> int:
        return sum(not handle.cancelled() for handle in self._scheduled)  # type: ignore[attr-defined]

    def settle(self) -> None:
        for _ in range(10):
            self.tick()


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


def admission_of(loop: VirtualLoop, in_flight: int = 1, queued: int = 10, timeout_s: float = 5.0) -> Admission:
    return loop.run_until_complete(_admission(loop, in_flight, queued, timeout_s))


async def _admission(loop: VirtualLoop, in_flight: int, queued: int, timeout_s: float) -> Admission:
    return Admission(in_flight, queued, timeout_s, clock=loop.time)


class Caller:
    """A request: it waits for a slot, works until told to finish, and releases the slot."""

    def __init__(self, loop: VirtualLoop, admission: Admission) -> None:
        self._admission = admission
        self.working = False
        self.finish = asyncio.Event()
        self.task = loop.create_task(self._run())

    async def _run(self) -> None:
        async with self._admission:
            self.working = True
            try:
                await self.finish.wait()
            finally:
                self.working = False

    def error(self) -> Overloaded:
        error = self.task.exception()
        assert isinstance(error, Overloaded)
        return error


def callers(loop: VirtualLoop, admission: Admission, count: int) -> list[Caller]:
    started = [Caller(loop, admission) for _ in range(count)]
    loop.settle()
    return started


def state(admission: Admission) -> tuple[int, int]:
    return admission.in_flight, admission.queued


def test_other_processes_may_read_how_many_work_and_wait(loop: VirtualLoop) -> None:
    shown = memoryview(bytearray(16)).cast("q")
    admission = Admission(1, 10, 5.0, clock=loop.time, shared_counts=shown)
    for caller, left in zip(callers(loop, admission, 3), ([1, 2], [1, 1], [1, 0]), strict=True):
        assert shown.tolist() == left
        caller.finish.set()
        loop.settle()
    assert shown.tolist() == [0, 0]


def test_slots_then_the_line_then_refusal(loop: VirtualLoop) -> None:
    admission = admission_of(loop, in_flight=2, queued=1)
    first, second, third, fourth = callers(loop, admission, 4)
    assert [caller.working for caller in (first, second, third, fourth)] == [True, True, False, False]
    assert state(admission) == (2, 1)
    error = fourth.error()
    assert (error.status, error.code) == (503, "overloaded")
    assert error.retry_after_s == 1.0
    for caller in (first, second, third):
        caller.finish.set()
        loop.settle()
    assert third.task.done()
    assert state(admission) == (0, 0)
    assert loop.timers() == 0


def test_no_line_at_all(loop: VirtualLoop) -> None:
    admission = admission_of(loop, queued=0)
    first, second = callers(loop, admission, 2)
    assert "overloaded" in second.error().message
    first.finish.set()
    loop.settle()
    assert state(admission) == (0, 0)


def test_first_come_first_served_and_nobody_overtakes(loop: VirtualLoop) -> None:
    admission = admission_of(loop)
    waiting = callers(loop, admission, 4)
    while waiting:
        served = waiting.pop(0)
        assert served.working
        assert not any(caller.working for caller in waiting)
        served.finish.set()
        if waiting:
            latecomer = Caller(loop, admission)  # asks in the very moment in which the slot is given back
            loop.settle()
            assert not latecomer.working
            latecomer.task.cancel()
        loop.settle()
    assert state(admission) == (0, 0)


def test_a_wait_too_long_is_refused(loop: VirtualLoop) -> None:
    admission = admission_of(loop, timeout_s=5.0)
    first, second = callers(loop, admission, 2)
    loop.run_until_complete(asyncio.wait([second.task]))
    assert loop.time() == pytest.approx(5.0, abs=0.01)
    assert "within 5 s" in second.error().message
    assert second.error().retry_after_s == 1.0
    assert state(admission) == (1, 0)
    first.finish.set()
    loop.settle()
    assert state(admission) == (0, 0)


@pytest.mark.parametrize("ticks", range(8))
@pytest.mark.parametrize("expire", [False, True])
def test_cancelled_at_every_point(loop: VirtualLoop, ticks: int, expire: bool) -> None:
    """One slot: the first caller finishes or the second's time runs out, while the second is cancelled."""
    admission = admission_of(loop, timeout_s=5.0)
    first, second, third = (Caller(loop, admission) for _ in range(3))
    for tick in range(ticks):
        if tick == 2:
            if expire:
                loop.selector.now = 5.0
            else:
                first.finish.set()
        loop.tick()
    second.task.cancel()
    loop.settle()
    first.finish.set()
    loop.settle()
    if expire and ticks > 2:
        assert third.error().status == 503
    else:
        assert third.working
    assert second.task.done()
    third.finish.set()
    loop.settle()
    assert state(admission) == (0, 0)


def test_a_slot_handed_to_a_cancelled_caller_goes_on_to_the_next(loop: VirtualLoop) -> None:
    admission = admission_of(loop)
    first, second, third = callers(loop, admission, 3)
    first.finish.set()
    loop.tick()  # first runs on and hands its slot over
    assert state(admission) == (1, 1)
    second.task.cancel()  # before it ran again
    loop.settle()
    assert second.task.cancelled()
    assert third.working
    third.finish.set()
    loop.settle()
    assert state(admission) == (0, 0)


def test_a_caller_cancelled_in_line_is_skipped_by_a_release_in_the_same_moment(loop: VirtualLoop) -> None:
    admission = admission_of(loop)
    first, second, third = callers(loop, admission, 3)
    second.task.cancel()
    admission.release()  # for first, before second could leave the line
    first.task.cancel()
    loop.settle()
    assert second.task.cancelled()
    assert third.working


def test_retry_after_is_the_time_that_the_line_takes(loop: VirtualLoop) -> None:
    admission = admission_of(loop, queued=30, timeout_s=100.0)
    line = callers(loop, admission, 31)
    for caller in line[:25]:
        caller.finish.set()
        loop.settle()
        loop.selector.now += 2.0  # each takes 2 s
    refused = callers(loop, admission, 26)[-1]
    assert refused.error().retry_after_s == pytest.approx(2.0 * 30, rel=0.1)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.settle()
    assert state(admission) == (0, 0)


class AdmissionMachine(RuleBasedStateMachine):
    """Any order of calls, cancellations, time and single steps of the loop."""

    MAX_IN_FLIGHT, MAX_QUEUED = 2, 3

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.admission = admission_of(self.loop, self.MAX_IN_FLIGHT, self.MAX_QUEUED)
        self.callers: list[Caller] = []

    @rule()
    def arrive(self) -> None:
        self.callers.append(Caller(self.loop, self.admission))

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.callers)).task.cancel()

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.callers)).finish.set()

    @rule(seconds=st.sampled_from([1.0, 5.0]))
    def wait(self, seconds: float) -> None:
        self.loop.selector.now += seconds

    @rule()
    def tick(self) -> None:
        self.loop.tick()

    @rule()
    def settle(self) -> None:
        self.loop.settle()
        working = [caller for caller in self.callers if caller.working]
        pending = [caller for caller in self.callers if not caller.task.done()]
        assert self.admission.in_flight == len(working)
        assert self.admission.queued == len(pending) - len(working)

    @invariant()
    def bounds_hold(self) -> None:
        assert 0 <= self.admission.in_flight <= self.MAX_IN_FLIGHT
        assert 0 <= self.admission.queued <= self.MAX_QUEUED
        assert tuple(self.admission._shared_counts) == state(self.admission)
        if self.admission.queued:
            assert self.admission.in_flight == self.MAX_IN_FLIGHT  # nobody waits beside a free slot

    def teardown(self) -> None:
        for caller in self.callers:
            caller.finish.set()
        self.loop.settle()
        for caller in self.callers:
            assert caller.task.done()
            if not caller.task.cancelled() and caller.task.exception():
                assert caller.error().status == 503
        assert state(self.admission) == (0, 0)
        self.loop.close()


AdmissionMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestAdmissionMachine = AdmissionMachine.TestCase
