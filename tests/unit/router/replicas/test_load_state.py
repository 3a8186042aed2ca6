from __future__ import annotations

import asyncio
import os

import pytest

from router.replicas import load_state
from router.replicas.load_state import LoadState


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_state.POLL_S
    monkeypatch.setattr(load_state, "POLL_S", 0.001)


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_who_waits_is_seen_until_it_is_over() -> None:
    state = LoadState()
    over = False
    assert state.waiting_since is None
    waits = [asyncio.create_task(state.wait(lambda: over, since=since, within_s=60)) for since in (7.0, 5.0, 6.0)]
    await settled()
    assert state.waiting_since == 5.0
    assert state.report().waiting == 3
    waits[1].cancel()
    await asyncio.gather(waits[1], return_exceptions=True)
    assert state.waiting_since == 6.0
    over = True
    await asyncio.gather(waits[0], waits[2])
    assert (state.waiting_since, state.report().waiting) == (None, 0)


async def test_a_wait_has_a_limit() -> None:
    state = LoadState()
    await state.wait(lambda: False, since=1.0, within_s=0.01)
    assert state.report().waiting == 0


async def test_a_wait_after_another_one_is_seen_and_ends_too() -> None:
    state = LoadState()
    for since in (1.0, 2.0):
        waiting = asyncio.create_task(state.wait(lambda: state.is_loaded, since=since, within_s=60))
        await settled()
        assert state.waiting_since == since
        state.write("loaded", may_wait=True, opens_at=None)
        await waiting
        state.write("unloaded", may_wait=True, opens_at=None)


async def test_all_workers_are_seen_and_a_dead_one_is_forgotten() -> None:
    state = LoadState(workers=2)
    if (pid := os.fork()) == 0:
        state.worker = 1
        state._waiting[asyncio.Future()] = 3.0
        state._publish()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0  # noqa: ASYNC222
    waiting = asyncio.create_task(state.wait(lambda: False, since=5.0, within_s=60))
    await settled()
    assert (state.waiting_since, state.report().waiting) == (3.0, 2)
    state.release_worker(1)
    assert (state.waiting_since, state.report().waiting) == (5.0, 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


def test_the_fleet_tells_the_workers_whether_it_pays_to_wait() -> None:
    state = LoadState()
    assert (state.may_wait, state.is_loaded, state.opens_in_s(1.0)) == (False, False, None)
    state.write("loading", may_wait=True, opens_at=None)
    assert (state.may_wait, state.is_loaded) == (True, False)
    state.write("loaded", may_wait=True, opens_at=None)
    assert state.is_loaded
    state.write("unloaded", may_wait=False, opens_at=9.0)
    assert (state.opens_in_s(4.0), state.opens_in_s(10.0)) == (5.0, 0.0)


def test_loads_and_unloads_are_counted() -> None:
    state = LoadState()
    for _ in range(2):
        state.count_load()
    state.count_unload("swap")
    state.count_unload("hours")
    report = state.report()
    assert (report.loads, dict(report.unloads)) == (2, {"swap": 1, "idle": 0, "hours": 1, "failed": 0})
