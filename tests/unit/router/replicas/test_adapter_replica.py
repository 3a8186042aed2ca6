"""An adapter's replicas are its model's: one load, one breaker, one bill. Its version and its requests are its own."""

from __future__ import annotations

import pytest

from router.config.models import Model
from router.errors import Unavailable
from router.money.price import Price
from router.replicas.adapter_replica import AdapterReplica, AdapterSlot, name_at_engine
from router.replicas.breaker import FAILURES_TO_OPEN
from router.replicas.liveness import Unwatched
from router.replicas.pool import Pool, Replica
from router.replicas.shared_memory import Lock
from router.replicas.shared_pool import SharedPool, SharedReplica

PRICE = Price(replica_hour_usd=3.6)
BASE = Model(name="tiny", tier="slm", engine="vllm", source="owner/tiny", price=PRICE, adapters={"orders": "./orders"})
[ORDERS] = BASE.adapter_models


class Both:
    """The pools of a model and of its adapter, on the same replicas."""

    def __init__(self, workers: int, replicas: int = 1) -> None:
        self.slots = []
        lock = Lock() if workers > 1 else None
        bases: list[Replica] = []
        for number in range(replicas):
            name, url = f"tiny/{number}", f"unix:/{number}:/v1"
            bases.append(SharedReplica(name, url, Unwatched(), lock, workers) if lock else Replica(name, url))
            self.slots.append(AdapterSlot(workers, lock))
            self.slots[-1].switch_to(1)
        self.up = [Unwatched() for _ in bases]
        of_orders = [AdapterReplica(*one) for one in zip(bases, self.up, self.slots, strict=True)]
        self.tiny = SharedPool(BASE, bases, lock) if lock else Pool(BASE, bases)
        self.orders = SharedPool(ORDERS, of_orders, lock) if lock else Pool(ORDERS, of_orders)


@pytest.fixture(params=[1, 2], ids=["alone", "two workers"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


def test_an_adapter_is_a_model_like_its_base() -> None:
    assert (ORDERS.name, ORDERS.adapter_of, ORDERS.adapters) == ("orders", "tiny", {})
    assert (ORDERS.price, ORDERS.backend, ORDERS.managed) == (BASE.price, BASE.backend, True)


def test_a_request_has_the_version_of_its_beginning(both: Both) -> None:
    [slot] = both.slots
    before = both.orders.acquire(0.0)
    slot.switch_to(0xABC)
    after = both.orders.acquire(0.0)
    assert before.model.upstream_name == name_at_engine("orders", 1) == "orders@000000000001"
    assert after.model.upstream_name == "orders@000000000abc"
    assert {before.model.name, after.model.name, before.attempt.model} == {"orders"}
    assert both.tiny.acquire(0.0).model.upstream_name == "tiny"
    assert slot.in_flight == 2


def test_a_second_of_the_replica_is_divided_among_all_its_requests(both: Both) -> None:
    leases = [both.tiny.acquire(0.0), both.orders.acquire(0.0), both.orders.acquire(0.0)]
    for lease in leases:
        lease.release(3.0, "good")
        lease.release(3.0, "good")
    assert [lease.attempt.busy_s for lease in leases] == [1.0] * 3
    tiny, orders = both.tiny.status(3.0), both.orders.status(3.0)
    assert [work.busy_s for work in tiny.work] == [3.0]
    assert [(work.up_s, work.busy_s) for work in orders.work] == [(0.0, 0.0)], "its hours are paid once"
    assert (tiny.in_flight, orders.in_flight, both.slots[0].in_flight) == (0, 0, 0)


def test_each_counts_its_requests_and_the_load_is_the_sum() -> None:
    both = Both(1, replicas=2)
    first = [both.tiny.acquire(0.0).replica.name for _ in range(2)]
    second = [both.orders.acquire(0.0).replica.name for _ in range(2)]
    assert sorted(first) == sorted(second) == ["tiny/0", "tiny/1"]
    both.tiny.acquire(0.0)
    assert (both.tiny.status(0.0).in_flight, both.orders.status(0.0).in_flight) == (5, 2)
    busier = next(replica.name for replica in both.tiny.replicas if replica.share.in_flight == 3)
    assert both.orders.acquire(0.0).replica.name != busier


def test_a_failure_speaks_against_the_replica_and_so_against_both(both: Both) -> None:
    for _ in range(FAILURES_TO_OPEN):
        both.orders.acquire(0.0).release(0.0, "bad")
    for pool in (both.tiny, both.orders):
        with pytest.raises(Unavailable, match=r"tiny/0 failed 3 times in a row"):
            pool.acquire(0.0)
    both.tiny.acquire(0.0, last_resort=True).release(0.0, "good")
    assert both.orders.acquire(0.0)


def test_an_adapter_is_up_only_where_it_is_loaded() -> None:
    both = Both(1, replicas=2)
    both.orders.replicas[0].liveness = Unwatched(up=False, detail="adapter orders is not loaded here")
    assert {both.orders.acquire(0.0).replica.name for _ in range(4)} == {"tiny/1"}
    status = both.orders.status(0.0)
    assert (status.up, status.replicas, status.detail) == (1, 2, "adapter orders is not loaded here")
    assert both.tiny.status(0.0).up == 2


def test_a_dead_workers_requests_are_taken_out_once() -> None:
    both = Both(2)
    for worker in (0, 1):
        both.tiny.set_worker(worker)
        both.orders.set_worker(worker)
        both.tiny.acquire(0.0)
        both.orders.acquire(0.0)
    assert (both.tiny.status(0.0).in_flight, both.orders.status(0.0).in_flight) == (4, 2)
    for pool in (both.tiny, both.orders):
        assert isinstance(pool, SharedPool)
        pool.release_worker(0, 1.0)
    assert (both.tiny.status(1.0).in_flight, both.orders.status(1.0).in_flight) == (2, 1)
