from __future__ import annotations

import asyncio
import copy
import os
import random
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from router import fleet
from router.config.models import Model
from router.errors import FailedLately, NotLoaded, Unavailable
from router.fleet import Fleet
from router.money.cost import BusyShare
from router.replicas.breaker import FAILURES_TO_OPEN, FIRST_COOLDOWN_S, Breaker
from router.replicas.liveness import Unwatched
from router.replicas.pool import Health, Lease, Pool
from router.replicas.shared_memory import Lock, cells
from router.replicas.shared_pool import DETAIL_BYTES, SharedLiveness, SharedPool, SharedReplica
from router.replicas.uptime import Uptime
from tests.support.fakes import FakeUpstream, config, model, pool


def shared(replicas: int = 1, workers: int = 2) -> SharedPool:
    of, lock = model(replicas=replicas), Lock()
    places = [SharedReplica(f"slm/{i}", url, Unwatched(), lock, workers) for i, url in enumerate(of.base_url)]
    return SharedPool(of, places, lock)


def of_worker(number: int, original: SharedPool) -> SharedPool:
    """What a forked worker has: the same cells, and a state of its own that says nothing until it is loaded."""
    twin = copy.copy(original)
    replicas = [copy.copy(replica) for replica in original.replicas]
    for replica in replicas:
        replica.share, replica.breaker = BusyShare(9.0, 9, 9.0), Breaker(9, 9, 9.0, 9.0, 9, 9, 9)
    twin.replicas = tuple(replicas)
    twin.set_worker(number)
    return twin


def test_workers_see_each_others_load() -> None:
    original = shared(replicas=2)
    one, other = of_worker(0, original), of_worker(1, original)
    leases = [worker.acquire(0.0) for worker in (one, one, other, other, one, other)]
    assert sorted(lease.replica.name for lease in leases) == ["slm/0"] * 3 + ["slm/1"] * 3
    assert one.status(0.0).in_flight == other.status(0.0).in_flight == 6
    for lease in leases:
        lease.release(1.0, "good")
    assert one.status(1.0).in_flight == other.status(1.0).in_flight == 0
    assert sum(lease.attempt.busy_s for lease in leases) == pytest.approx(2.0), "a second of two replicas"


def test_idle_replicas_take_turns_whoever_asks() -> None:
    original = shared(replicas=2)
    names = []
    for worker in (0, 1, 0, 1):
        lease = of_worker(worker, original).acquire(0.0)
        names.append(lease.replica.name)
        lease.release(0.0, "good")
    assert sorted(names) == ["slm/0", "slm/0", "slm/1", "slm/1"]


def test_a_key_prefers_the_same_replica_in_every_worker_and_their_load_counts() -> None:
    original = shared(replicas=2)
    names = [of_worker(at % 2, original).acquire(0.0, key=2**62 + 12345).replica.name for at in range(8)]
    assert sorted(names.count(f"slm/{at}") for at in range(2)) == [3, 5]
    assert names[0] == names[1], "two are within the bound"


def test_failures_that_any_worker_saw_count_for_all_and_one_probes() -> None:
    original = shared()
    one, other = of_worker(0, original), of_worker(1, original)
    for worker in (one, other, one):
        worker.acquire(0.0).release(0.0, "bad")
    for worker in (one, other):
        assert worker.untried(0.0, ()) == 0
        assert "cooling down" in worker.status(0.0).detail
        with pytest.raises(Unavailable, match="cooling down"):
            worker.acquire(0.0)
    probe = other.acquire(FIRST_COOLDOWN_S)
    with pytest.raises(Unavailable, match="a recovery probe is in progress"):
        one.acquire(FIRST_COOLDOWN_S)
    probe.release(FIRST_COOLDOWN_S, "good")
    assert one.acquire(FIRST_COOLDOWN_S)


def test_a_dead_workers_requests_are_taken_out_and_the_others_stay() -> None:
    original = shared()
    one, other = of_worker(0, original), of_worker(1, original)
    for _ in range(3):
        one.acquire(0.0)
    kept = other.acquire(0.0)
    original.release_worker(0, 4.0)
    assert other.status(4.0).in_flight == 1
    original.release_worker(0, 5.0)
    kept.release(6.0, "good")
    assert kept.attempt.busy_s == 1.0 + 2.0, "a quarter of four seconds, then all of two"
    assert other.status(6.0).in_flight == 0


@pytest.mark.parametrize("dies", [0, 1])
def test_a_probe_ends_with_the_worker_that_had_it(dies: int) -> None:
    original = shared()
    workers = of_worker(0, original), of_worker(1, original)
    for _ in range(FAILURES_TO_OPEN):
        workers[0].acquire(0.0).release(0.0, "bad")
    workers[0].acquire(FIRST_COOLDOWN_S)
    original.release_worker(dies, FIRST_COOLDOWN_S)
    assert workers[1].untried(FIRST_COOLDOWN_S, ()) == (dies == 0)


def test_a_change_that_was_not_finished_is_none() -> None:
    original = shared()
    lease = of_worker(0, original).acquire(0.0)
    [place] = original.replicas
    place._record.pack_into(place._cells, place._offset(place._cells[0] + 1), *[7] * 14)
    worker = of_worker(1, original)
    assert worker.status(0.0).in_flight == 1
    lease.release(2.0, "good")
    assert (worker.status(2.0).in_flight, lease.attempt.busy_s) == (0, 2.0)


def test_a_clock_that_wendpoint_fields_before_another_workers_costs_nobody_less_than_nothing() -> None:
    original = shared()
    one, other = of_worker(0, original), of_worker(1, original)
    first = one.acquire(10.0)
    second = other.acquire(9.999)
    second.release(9.9995, "good")
    first.release(10.5, "good")
    assert (second.attempt.busy_s, first.attempt.busy_s) == (0.0, 0.5)


KEYS = st.none() | st.integers(0, 2**63 - 1)


class AsOne(RuleBasedStateMachine):
    """Whatever several workers do, and whoever of them dies, is what one process would have seen."""

    @initialize(workers=st.integers(2, 3), replicas=st.integers(1, 3))
    def start(self, workers: int, replicas: int) -> None:
        self.original = shared(replicas, workers)
        self.workers = [of_worker(number, self.original) for number in range(workers)]
        self.alone = pool(model(replicas=replicas))
        self.now = 1.0
        self.held: list[tuple[int, Lease, Lease]] = []

    @rule(seconds=st.sampled_from([0.25, 1.0, 2.0, 8.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data(), tried=st.sets(st.sampled_from(["slm/0", "slm/1"])), last_resort=st.booleans(), key=KEYS)
    def acquire(self, data: Any, tried: set[str], last_resort: bool, key: int | None) -> None:
        number = data.draw(st.integers(0, len(self.workers) - 1))
        worker = self.workers[number]
        assert worker.untried(self.now, tried) == self.alone.untried(self.now, tried)
        outcomes: list[Lease | Unavailable] = []
        for asked in (worker, self.alone):
            try:
                outcomes.append(asked.acquire(self.now, tried=tried, last_resort=last_resort, key=key))
            except Unavailable as error:
                outcomes.append(error)
        lease, expected = outcomes
        if isinstance(lease, Lease) and isinstance(expected, Lease):
            assert lease.replica.name == expected.replica.name
            self.held.append((number, lease, expected))
        else:
            assert str(lease) == str(expected)
            assert lease.retry_after_s == expected.retry_after_s  # type: ignore[union-attr]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), health=st.sampled_from(["good", "bad", "bad", "unknown"]))
    def release(self, data: Any, health: Health) -> None:
        _, lease, expected = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        lease.release(self.now, health)
        expected.release(self.now, health)
        assert lease.attempt.busy_s == pytest.approx(expected.attempt.busy_s, rel=1e-12), "added up in another order"

    @rule(data=st.data())
    def die(self, data: Any) -> None:
        number = data.draw(st.integers(0, len(self.workers) - 1))
        self.original.release_worker(number, self.now)
        self.workers[number] = of_worker(number, self.original)
        for _, _, expected in [held for held in self.held if held[0] == number]:
            expected.replica.share.drop(self.now, 1)
            expected.replica.breaker.inconclusive(expected._call)
        self.held = [held for held in self.held if held[0] != number]

    @invariant()
    def agree(self) -> None:
        for worker in (*self.workers, self.original):
            assert worker.status(self.now) == self.alone.status(self.now)
            for replica, expected in zip(worker.replicas, self.alone.replicas, strict=True):
                assert replica.share.in_flight == expected.share.in_flight
                assert replica.breaker == expected.breaker


TestAsOne = AsOne.TestCase
TestAsOne.settings = settings(max_examples=40)


def test_shares_add_up_over_real_processes() -> None:
    """One request is at work all the time: so the replica is, and all shares together are that time."""
    original = shared(workers=3)
    spent = cells(2)  # nanoseconds
    whole = of_worker(2, original).acquire(began := time.monotonic())
    children = []
    for number in range(2):
        if (pid := os.fork()) == 0:
            worker = of_worker(number, original)
            for _ in range(300):
                leases = [worker.acquire(time.monotonic()) for _ in range(random.randint(1, 3))]
                for lease in leases:
                    lease.release(time.monotonic(), "good")
                    assert lease.attempt.busy_s >= 0
                    spent[number] += round(lease.attempt.busy_s * 1e9)
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    whole.release(ended := time.monotonic(), "good")
    assert original.status(ended).in_flight == 0
    assert original.status(ended).work[0].busy_s == pytest.approx(ended - began, abs=2e-6)
    assert sum(spent) / 1e9 + whole.attempt.busy_s == pytest.approx(ended - began, abs=2e-6)


def test_processes_killed_at_any_moment_leave_nothing_behind() -> None:
    original = shared(replicas=2, workers=3)
    for round_ in range(12):
        children = []
        for number in range(3):
            if (pid := os.fork()) == 0:
                worker = of_worker(number, original)
                held: list[Lease] = []
                while True:
                    held.append(worker.acquire(time.monotonic(), last_resort=True))
                    if len(held) > 5:
                        held.pop(0).release(time.monotonic(), random.choice(["good", "bad", "unknown"]))
            children.append(pid)
        time.sleep(0.002 * round_)
        for number, child in enumerate(children):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            original.release_worker(number, time.monotonic())
        status = original.status(time.monotonic())
        assert status.in_flight == 0
        assert not any(replica.breaker.probe for replica in original.replicas)


# Liveness


@pytest.mark.parametrize("detail", ["", "vLLM starting, 5 s", "d" * 1000, "é" * 200])
def test_a_post_says_what_was_written(detail: str) -> None:
    post = SharedLiveness(Lock(), Uptime(), Uptime())
    assert (post.up, post.restarts, post.detail) == (False, 0, "")
    post.write(up=True, may_answer=True, restarts=3, detail=detail)
    assert (post.up, post.restarts) == (True, 3)
    assert post.detail == detail.encode()[:DETAIL_BYTES].decode(errors="replace")
    post.write(up=False, may_answer=False, restarts=4, detail="short")
    assert (post.up, post.restarts, post.detail) == (False, 4, "short")


@dataclass
class Watcher:
    up: bool = True
    may_answer: bool = True
    detail: str = ""
    restarts: int = 0
    uptime: Uptime = field(default_factory=Uptime)
    ran: list[str] = field(default_factory=list)

    async def run(self) -> None:
        self.ran.append("begun")
        await asyncio.Event().wait()


MANAGED = Model(name="tiny", tier="slm", engine="vllm", source="owner/tiny", replicas=2)


def built(tmp_path: Path, *models: Model, workers: int = 2) -> Fleet:
    return Fleet(config(*models), FakeUpstream({}), tmp_path, print, workers=workers)


async def test_what_a_watcher_sees_is_posted_within_a_tenth_of_a_second(tmp_path: Path) -> None:
    one = built(tmp_path, model())
    watcher = Watcher()
    one._watchers = [watcher]  # type: ignore[list-item]
    one._published = [(watcher, post) for _, post in one._published]  # type: ignore[misc]
    [replica] = one.pools["slm"].replicas
    one.start()
    try:
        waits = []
        for up in (False, True, False, True, False):
            watcher.up, watcher.detail = up, "" if up else "gone"
            began = time.monotonic()
            while replica.liveness.up != up:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            waits.append(time.monotonic() - began)
        assert sorted(waits)[2] < 2 * fleet.PUBLISH_INTERVAL_S == 0.1, "unless this machine is busy with other things"
        assert one.statuses()[0].detail == "gone"
        assert watcher.ran == ["begun"]
    finally:
        await one.stop()


async def test_when_the_fleet_dies_what_it_supervised_is_down_and_its_successor_goes_on_counting(
    tmp_path: Path,
) -> None:
    one = built(tmp_path, MANAGED, model())
    one._published[0][1].write(up=True, may_answer=True, restarts=4, detail="")
    began = time.monotonic()
    for watcher in one._watchers:
        watcher.uptime.note(began, up=True)
    assert [post.up for _, post in one._published] == [True, False, True]
    one.mark_down()
    tiny, slm = one.statuses()
    assert (tiny.up, tiny.restarts, tiny.detail) == (0, 6, "; ".join(["restarting: its supervisor stopped"] * 2))
    assert (slm.up, slm.restarts) == (1, 0), "it may be as it was"
    assert [one.statuses()[0].work[0].up_s] == [tiny.work[0].up_s], "it counts no more"
    assert one.statuses()[1].work[0].up_s > slm.work[0].up_s > 0
    watchers = [Watcher(restarts=1), Watcher(), Watcher()]
    one._watchers = []
    one._published = [(watcher, post) for watcher, (_, post) in zip(watchers, one._published, strict=True)]  # type: ignore[misc]
    one.start()
    await asyncio.sleep(0)
    await one.stop()
    assert [status.restarts for status in one.statuses()] == [7, 0]


def test_what_nobody_watches_is_taken_for_up_from_the_start(tmp_path: Path) -> None:
    began = time.monotonic()
    one = built(tmp_path, model(engine="openai"))
    [work] = one.statuses()[0].work
    assert 0 < work.up_s <= time.monotonic() - began


def test_alone_nothing_is_shared(tmp_path: Path) -> None:
    one = built(tmp_path, MANAGED, model(), workers=1)
    assert {type(a_pool) for a_pool in one.pools.values()} == {Pool}
    assert one._published == []
    one.set_worker(0)
    one.release_worker(0)
    one.mark_down()
    assert one.pools["tiny"].replicas[0].url.startswith("unix:")


def test_managed_replicas_have_the_same_address_in_all_processes(tmp_path: Path) -> None:
    one = built(tmp_path, MANAGED)
    addresses = {replica.url for replica in one.pools["tiny"].replicas}
    assert len(addresses) == 2
    assert {f"{watcher.address}:/v1" for watcher in one._watchers} == addresses  # type: ignore[union-attr]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_request_for_an_adapter_loads_its_model(tmp_path: Path, workers: int) -> None:
    small = MANAGED.model_copy(update={"adapters": {"orders": "o/lora"}, "idle_minutes": 15.0})
    one = Fleet(config(small, *small.adapter_models), FakeUpstream({}), tmp_path, print, workers=workers)
    for watcher in one._watchers:
        watcher.is_preparing = False  # type: ignore[misc] - its weights are on this machine
    base, adapter = one.pools["tiny"].load_state, one.pools["orders"].load_state
    assert base is adapter is not None
    with pytest.raises(NotLoaded):
        one.pools["orders"].acquire(1.0)
    waiting = asyncio.create_task(adapter.wait(lambda: False, since=1.0, within_s=60))
    await asyncio.sleep(0)
    one._loader.step(2.0, datetime.now(UTC))
    assert (base.report().phase, base.report().loads) == ("loading", 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


def test_a_stream_that_probes_lets_other_workers_in_when_it_begins() -> None:
    original = shared()
    first, second = of_worker(0, original), of_worker(1, original)
    for _ in range(FAILURES_TO_OPEN):
        first.acquire(0.0, last_resort=True).release(0.0, "bad")
    lease = first.acquire(FIRST_COOLDOWN_S)
    with pytest.raises(FailedLately):
        second.acquire(FIRST_COOLDOWN_S)
    lease.begin_answer()
    second.acquire(FIRST_COOLDOWN_S).release(3.0, "good")
