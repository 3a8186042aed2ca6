from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.errors import FailedLately, Unavailable
from router.replicas.breaker import FAILURES_TO_OPEN, FIRST_COOLDOWN_S
from router.replicas.pool import Health, Lease, Pool, Replica
from router.replicas.uptime import Uptime
from router.types import ReplicaWork
from tests.support.fakes import FakeExchange, model, pool


@dataclass
class Watched:
    up: bool = True
    may_answer: bool = False
    detail: str = ""
    restarts: int = 0
    uptime: Uptime = field(default_factory=Uptime)
    paid: Uptime = field(default_factory=Uptime)


def watched(*livenesses: Watched) -> Pool:
    of = model(replicas=len(livenesses))
    return Pool(of, [Replica(f"slm/{i}", url, livenesses[i]) for i, url in enumerate(of.base_url)])


def rest(replica: Replica, now: float = 0.0) -> None:
    for _ in range(FAILURES_TO_OPEN):
        replica.breaker.failed(now, replica.breaker.start_call(now))


def test_a_lease_counts_until_it_is_released() -> None:
    one = pool(model())
    lease = one.acquire(0.0)
    assert one.status(0.0).in_flight == 1
    lease.release(2.0, "good")
    assert one.status(0.0).in_flight == 0
    assert lease.attempt.busy_s == 2.0
    assert (lease.attempt.model, lease.attempt.replica, lease.attempt.price) == ("slm", "slm/0", one.model.price)


def test_release_is_idempotent() -> None:
    one = pool(model())
    lease = one.acquire(0.0)
    exchange = lease.exchange = FakeExchange()
    lease.release(2.0, "bad")
    lease.release(3.0, "bad")
    lease.release(4.0, "good")
    assert one.status(0.0).in_flight == 0
    assert lease.attempt.busy_s == 2.0
    assert exchange.closed == 1
    assert one.replicas[0].breaker.failures == 1


@pytest.mark.parametrize(("health", "failures"), [("good", 0), ("bad", 3), ("unknown", 2)])
def test_release_tells_the_breaker(health: Health, failures: int, caplog: pytest.LogCaptureFixture) -> None:
    one = pool(model())
    one.replicas[0].breaker.failures = 2
    one.acquire(0.0).release(7.0, health)
    assert one.replicas[0].breaker.failures == failures
    assert ("slm/0 failed 3 times in a row" in caplog.text) == (health == "bad")


def test_load_is_spread_and_idle_replicas_take_turns() -> None:
    one = pool(model(replicas=3))
    leases = [one.acquire(0.0) for _ in range(6)]
    assert sorted(lease.replica.name for lease in leases) == sorted(["slm/0", "slm/1", "slm/2"] * 2)
    for lease in leases:
        lease.release(0.0, "good")
    names = set()
    for _ in range(3):
        lease = one.acquire(0.0)
        names.add(lease.replica.name)
        lease.release(0.0, "good")
    assert len(names) == 3


def test_prefers_what_was_not_tried_also_where_it_is_busier() -> None:
    one = pool(model(replicas=2))
    busy = [one.acquire(0.0, tried=["slm/0"]) for _ in range(5)]
    assert {lease.replica.name for lease in busy} == {"slm/1"}
    assert one.acquire(0.0, tried=["slm/0", "slm/1"]).replica.name == "slm/0", "all tried: any"


def test_untried() -> None:
    one = watched(Watched(), Watched(), Watched(up=False), Watched())
    rest(one.replicas[3])
    assert one.untried(0.0, ()) == 2
    assert one.untried(0.0, ["slm/0"]) == 1
    assert one.untried(0.0, ["slm/0", "slm/1", "slm/2", "slm/3"]) == 0
    assert one.untried(FIRST_COOLDOWN_S, ["slm/0", "slm/1"]) == 1


def test_what_is_down_is_never_leased() -> None:
    one = watched(Watched(up=False, detail="slm/0 starts"), Watched())
    assert {one.acquire(0.0).replica.name for _ in range(4)} == {"slm/1"}
    one = watched(Watched(up=False, detail="slm/0 starts"))
    for last_resort in (False, True):
        with pytest.raises(Unavailable, match="'slm' is not available: slm/0 starts") as caught:
            one.acquire(0.0, last_resort=last_resort)
        assert caught.value.retry_after_s == 5.0


def test_a_resting_replica_is_the_last_resort_only() -> None:
    one = pool(model(replicas=2))
    rest(one.replicas[0])
    assert {one.acquire(1.0, last_resort=True).replica.name for _ in range(4)} == {"slm/1"}
    rest(one.replicas[1])
    with pytest.raises(FailedLately, match="cooling down"):
        one.acquire(1.0)
    assert one.acquire(1.0, last_resort=True).replica.name in ("slm/0", "slm/1")


def test_a_replica_whose_health_check_is_late_is_the_last_resort_until_requests_fail_too() -> None:
    """A busy server may miss its health checks and still answer."""
    one = watched(Watched(up=False, may_answer=True), Watched(up=False, detail="slm/1 starts"))
    with pytest.raises(FailedLately, match="slm/1 starts"):
        one.acquire(0.0)
    for _ in range(FAILURES_TO_OPEN):
        lease = one.acquire(0.0, last_resort=True)
        assert lease.replica.name == "slm/0"
        lease.release(0.0, "bad")
    with pytest.raises(Unavailable) as caught:
        one.acquire(1.0, last_resort=True)
    assert type(caught.value) is Unavailable, "requests and health checks agree: it is down"
    one.acquire(FIRST_COOLDOWN_S, last_resort=True).release(2.0, "good")
    assert one.acquire(2.0, last_resort=True).replica.name == "slm/0"


def test_an_open_breaker_is_a_better_last_resort_than_a_late_health_check() -> None:
    one = watched(Watched(), Watched(up=False, may_answer=True))
    rest(one.replicas[0])
    assert one.acquire(0.0, last_resort=True).replica.name == "slm/0"


def test_a_stream_that_probes_lets_others_in_when_it_begins() -> None:
    """Its answer may take minutes; that it has begun shows that the replica works."""
    one = pool(model())
    rest(one.replicas[0])
    lease = one.acquire(FIRST_COOLDOWN_S)
    with pytest.raises(FailedLately):
        one.acquire(FIRST_COOLDOWN_S)
    lease.begin_answer()
    one.acquire(FIRST_COOLDOWN_S).release(3.0, "good")
    lease.release(9.0, "bad")
    assert one.replicas[0].breaker.failures == 1, "how it ended counts as any other call"


@pytest.mark.parametrize(("now", "retry_after_s"), [(0.0, 2.0), (0.5, 1.5), (1.9, 1.0)])
def test_unavailable_says_when_it_is_worth_trying_again(now: float, retry_after_s: float) -> None:
    one = pool(model())
    rest(one.replicas[0])
    with pytest.raises(Unavailable) as caught:
        one.acquire(now)
    assert caught.value.retry_after_s == retry_after_s


def test_after_the_rest_one_request_tries_it() -> None:
    one = pool(model())
    rest(one.replicas[0])
    probe = one.acquire(FIRST_COOLDOWN_S)
    with pytest.raises(Unavailable):
        one.acquire(FIRST_COOLDOWN_S)
    probe.release(FIRST_COOLDOWN_S, "unknown")
    one.acquire(FIRST_COOLDOWN_S).release(FIRST_COOLDOWN_S, "good")
    assert [one.acquire(FIRST_COOLDOWN_S) for _ in range(2)]


def test_status() -> None:
    one = watched(Watched(restarts=2), Watched(up=False, detail="slm/1 ended", restarts=1))
    one.acquire(0.0)
    status = one.status(0.0)
    assert (status.model, status.replicas, status.up, status.in_flight, status.restarts) == ("slm", 2, 1, 1, 3)
    assert status.detail == "slm/1 ended"


def test_a_replicas_work_is_the_time_that_it_was_up_and_the_time_with_a_request_in_flight() -> None:
    first, second = Watched(), Watched()
    one = watched(first, second)
    first.uptime.note(1.0, up=True)
    second.uptime.note(3.0, up=True)
    second.uptime.note(4.0, up=False)
    leases = [one.acquire(2.0, tried=["slm/1"]) for _ in range(2)]
    leases[0].release(4.0, "good")
    assert one.status(5.0).work == [ReplicaWork("slm/0", 4.0, 3.0, 0.0), ReplicaWork("slm/1", 1.0, 0.0, 0.0)]
    leases[1].release(6.0, "good")
    assert one.status(9.0).work[0] == ReplicaWork("slm/0", 8.0, 4.0, 0.0)


def test_a_replica_that_rests_is_not_up_until_its_cooldown_is_over() -> None:
    one = pool(model(replicas=2))
    rest(one.replicas[0])
    for now in (0.0, FIRST_COOLDOWN_S - 0.1):
        status = one.status(now)
        assert (status.replicas, status.up) == (2, 1)
        assert status.detail == "slm/0 failed 3 times in a row and is cooling down"
    after = one.status(FIRST_COOLDOWN_S)
    assert (after.up, after.detail) == (2, "")
    rest(one.replicas[1])
    assert one.status(0.0).up == 0
    assert one.status(0.0).detail.count("cooling down") == 2


def test_what_is_down_is_not_said_to_rest() -> None:
    one = watched(Watched(up=False, detail="slm/0 starts"))
    rest(one.replicas[0])
    assert one.status(0.0).detail == "slm/0 starts"


def test_while_one_request_tries_it_it_counts_as_up_but_takes_no_other() -> None:
    """A long stream may be the one that tries: a load balancer must not be told that nothing works."""
    one = pool(model())
    rest(one.replicas[0])
    probe = one.acquire(FIRST_COOLDOWN_S)
    assert (one.status(FIRST_COOLDOWN_S).up, one.status(FIRST_COOLDOWN_S).detail) == (1, "")
    with pytest.raises(Unavailable, match="a recovery probe is in progress"):
        one.acquire(FIRST_COOLDOWN_S)
    probe.release(FIRST_COOLDOWN_S, "good")
    assert (one.status(FIRST_COOLDOWN_S).up, one.status(FIRST_COOLDOWN_S).detail) == (1, "")


class Life(RuleBasedStateMachine):
    """Any interleaving of leases, releases and failures."""

    def __init__(self) -> None:
        super().__init__()
        self.watches = [Watched(), Watched(), Watched()]
        self.pool = watched(*self.watches)
        self.now = 0.0
        self.held: list[Lease] = []
        self.ended: list[Lease] = []
        self.busy = dict.fromkeys(["slm/0", "slm/1", "slm/2"], 0.0)

    @rule(seconds=st.sampled_from([0.25, 1.0, 8.0]))
    def wait(self, seconds: float) -> None:
        for name in {lease.replica.name for lease in self.held}:
            self.busy[name] += seconds
        self.now += seconds

    @rule(tried=st.sets(st.sampled_from(["slm/0", "slm/1", "slm/2"])), last_resort=st.booleans())
    def acquire(self, tried: set[str], last_resort: bool) -> None:
        could = self.pool.untried(self.now, ())
        fresh = self.pool.untried(self.now, tried)
        error: Unavailable | None = None
        try:
            lease = self.pool.acquire(self.now, tried=tried, last_resort=last_resort)
        except Unavailable as unavailable:
            error = unavailable
        if error is not None:
            assert could == 0
            assert not last_resort or not any(watch.up for watch in self.watches)
            assert error.retry_after_s is not None
            assert 1 <= error.retry_after_s <= 60
            return
        assert lease.replica.liveness.up
        assert could or last_resort
        assert not fresh or lease.replica.name not in tried
        lease.exchange = FakeExchange()
        self.held.append(lease)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), health=st.sampled_from(["good", "bad", "unknown"]), again=st.booleans())
    def release(self, data: st.DataObject, health: Health, again: bool) -> None:
        lease = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        for _ in range(1 + again):
            lease.release(self.now, health)
        self.ended.append(lease)

    @rule(i=st.integers(0, 2), up=st.booleans())
    def live_or_die(self, i: int, up: bool) -> None:
        self.watches[i].up = up

    @invariant()
    def counts_what_is_held(self) -> None:
        assert self.pool.status(0.0).in_flight == len(self.held)
        for replica in self.pool.replicas:
            assert replica.share.in_flight == sum(lease.replica is replica for lease in self.held)

    def teardown(self) -> None:
        for lease in self.held:
            lease.release(self.now, "unknown")
        spent: dict[str, Any] = dict.fromkeys(self.busy, 0.0)
        for lease in self.held + self.ended:
            spent[lease.replica.name] += lease.attempt.busy_s
            assert lease.exchange is not None
            assert lease.exchange.closed == 1  # type: ignore[attr-defined]
        assert spent == pytest.approx(self.busy)
        assert self.pool.status(0.0).in_flight == 0


TestLife = Life.TestCase


KEY = 2**62 + 12345


def test_a_key_has_one_replica_while_load_is_even() -> None:
    one = pool(model(replicas=3))
    assert one.balances_by_prefix
    first = one.acquire(0.0, key=KEY)
    first.release(0.0, "good")
    for _ in range(5):
        lease = one.acquire(0.0, key=KEY)
        assert lease.replica is first.replica
        lease.release(0.0, "good")
    leases = [one.acquire(0.0, key=KEY) for _ in range(9)]
    counts = sorted(sum(lease.replica is replica for lease in leases) for replica in one.replicas)
    assert counts == [1, 4, 4], "1.25 times the mean of three, rounded up; then the key's next replica"
    assert sum(lease.replica is first.replica for lease in leases) == 4


def test_a_key_goes_on_to_its_next_replica_when_its_own_is_down_or_was_tried_and_comes_back() -> None:
    livenesses = [Watched() for _ in range(3)]
    one = watched(*livenesses)
    own = one.acquire(0.0, key=KEY)
    own.release(0.0, "good")
    after_try = one.acquire(0.0, key=KEY, tried=[own.replica.name])
    after_try.release(0.0, "good")
    livenesses[one.replicas.index(own.replica)].up = False
    while_down = one.acquire(0.0, key=KEY)
    while_down.release(0.0, "good")
    assert while_down.replica is after_try.replica is not own.replica
    livenesses[one.replicas.index(own.replica)].up = True
    assert one.acquire(0.0, key=KEY).replica is own.replica


def test_keys_are_for_pools_of_several_replicas_that_are_not_balanced_by_load() -> None:
    assert not pool(model()).balances_by_prefix
    assert not pool(model(replicas=2, balance="least_loaded")).balances_by_prefix


@pytest.mark.parametrize("engine", ["llama-cpp-python", "transformers"])
def test_engines_that_serve_one_request_at_a_time_are_balanced_by_load_by_default(engine: str) -> None:
    assert not pool(model(replicas=2, engine=engine, context=2048)).balances_by_prefix
    assert pool(model(replicas=2, engine=engine, context=2048, balance="prefix")).balances_by_prefix
