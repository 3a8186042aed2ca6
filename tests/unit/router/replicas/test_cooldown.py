"""A replica whose upstream asked for a pause: others are asked meanwhile, and it is asked where there is no other."""

from __future__ import annotations

import os

import pytest

from router.errors import Overloaded, Unavailable
from router.replicas.adapter_replica import AdapterReplica, AdapterSlot
from router.replicas.cooldown import MAX_COOLDOWN_S, Cooldown
from router.replicas.liveness import Unwatched
from tests.support.fakes import model, pool


def test_a_cooldown_ends() -> None:
    one = Cooldown()
    assert one.left_s(100.0) == 0
    one.begin(100.0, 10.0)
    assert one.left_s(104.0) == pytest.approx(6.0)
    assert one.left_s(110.0) == 0


def test_the_longest_counts_up_to_a_limit() -> None:
    one = Cooldown()
    one.begin(100.0, 10.0)
    one.begin(100.0, 1.0)
    assert one.left_s(100.0) == pytest.approx(10.0)
    one.begin(100.0, 3600.0)
    assert one.left_s(100.0) == pytest.approx(MAX_COOLDOWN_S)


def test_workers_share_it() -> None:
    one = Cooldown()
    if not (child := os.fork()):
        one.begin(100.0, 10.0)
        os._exit(0)
    os.waitpid(child, 0)
    assert one.left_s(100.0) == pytest.approx(10.0)


def test_an_adapter_has_its_replicas_own() -> None:
    (base,) = pool(model()).replicas
    base.cooldown.begin(100.0, 10.0)
    assert not AdapterReplica(base, Unwatched(), AdapterSlot()).available(105.0)


def test_other_replicas_are_asked_meanwhile() -> None:
    one = pool(model(replicas=2))
    one.replicas[0].cooldown.begin(100.0, 10.0)
    assert {one.acquire(105.0).replica.name for _ in range(5)} == {"slm/1"}
    assert one.untried(105.0, ()) == 1
    assert {one.acquire(110.0).replica.name for _ in range(9)} == {"slm/0", "slm/1"}


def test_without_another_replica_the_next_model_is_asked() -> None:
    one = pool(model(replicas=2))
    one.replicas[0].cooldown.begin(100.0, 10.0)
    one.replicas[1].cooldown.begin(100.0, 20.0)
    with pytest.raises(Overloaded) as caught:
        one.acquire(103.0)
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded"), "no 'not available'"
    assert caught.value.retry_after_s == pytest.approx(7.0)
    assert one.untried(103.0, ()) == 0


def test_without_another_model_it_is_asked_all_the_same() -> None:
    one = pool(model())
    one.replicas[0].cooldown.begin(100.0, 10.0)
    assert one.acquire(103.0, last_resort=True).replica.name == "slm/0"


def test_a_replica_that_is_down_is_not_overloaded() -> None:
    one = pool(model())
    one.replicas[0].cooldown.begin(100.0, 10.0)
    one.replicas[0].liveness = Unwatched(up=False)
    with pytest.raises(Unavailable):
        one.acquire(103.0)


def test_a_cooldown_is_no_failure() -> None:
    one = pool(model())
    one.replicas[0].cooldown.begin(100.0, 10.0)
    assert one.replicas[0].breaker.failures == 0
    assert one.status(103.0).up == 1
