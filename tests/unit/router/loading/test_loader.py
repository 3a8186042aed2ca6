"""The loader over replicas and clocks that are no real ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from router.config.models import Config, Model
from router.config.swap import SwapGroup
from router.errors import NotLoaded, OutsideHours, Unavailable
from router.loading.loader import Loader
from router.replicas.load_state import LoadState
from router.replicas.pool import Lease, Pool, Replica
from router.replicas.uptime import Uptime

NOON = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


class Engine:
    """A replica that is loaded when the test says so."""

    def __init__(self) -> None:
        self.is_loaded = self.holds_memory = self.has_failed = self.is_preparing = False
        self.told: list[str] = []
        self.why = ""
        self.restarts = 0
        self.may_answer = False
        self.uptime = self.paid = Uptime()

    @property
    def up(self) -> bool:
        return self.is_loaded and not self.why

    @property
    def detail(self) -> str:
        return self.why

    def load(self) -> None:
        self.told.append("load")
        self.why, self.holds_memory = "", True

    def drain(self, why: str) -> None:
        self.told.append("drain")
        self.why = why

    def unload(self, why: str) -> None:
        self.told.append("unload")
        self.why, self.is_loaded = why, False


def managed(name: str, **entry: Any) -> Model:
    return Model(name=name, tier="slm", engine="vllm", source="owner/model", **entry)


class Bench:
    """Models of one file; `tick` is a step of the loader."""

    def __init__(self, *models: Model, **group: Any) -> None:
        self.engines = {model.name: Engine() for model in models}
        names = tuple(self.engines)
        self.config = Config(
            {model.name: model for model in models},
            {},
            {},
            swap={"g": SwapGroup(models=names, **group)} if group else {},
        )
        self.states = {name: LoadState() for name in names}
        self.pools = {
            model.name: Pool(
                model, [Replica(model.name, f"unix:{model.name}", self.engines[model.name])], self.states[model.name]
            )
            for model in models
        }
        self.published = 0
        self.replicas = {name: [engine] for name, engine in self.engines.items()}
        self.loader = Loader(self.config, self.pools, self.replicas, self.publish)
        self.now = 1000.0
        self.wall = NOON
        for engine in self.engines.values():
            engine.told.clear()

    def publish(self) -> None:
        self.published += 1

    def tick(self, seconds: float = 0.1) -> None:
        self.now += seconds
        self.wall += timedelta(seconds=seconds)
        self.loader.step(self.now, self.wall)

    def wait_for(self, name: str, since: float | None) -> None:
        """Let a request of a worker wait, or no longer."""
        cells = self.states[name]._workers[0]
        cells[0], cells[1] = (0, 0) if since is None else (1, round(since * 1e9))

    def lease(self, name: str) -> Lease:
        return self.pools[name].acquire(self.now)

    def loaded(self, name: str) -> None:
        self.engines[name].is_loaded = True
        self.tick()

    def told(self, name: str) -> list[str]:
        told, self.engines[name].told = self.engines[name].told, []
        return told


def test_a_swap_from_one_model_to_another() -> None:
    bench = Bench(managed("a"), managed("b"), keep=1)
    bench.tick()
    assert bench.told("a") == bench.told("b") == []
    with pytest.raises(NotLoaded):
        bench.lease("a")
    bench.wait_for("a", bench.now)
    bench.tick()
    assert bench.told("a") == ["load"]
    assert bench.states["a"].report().phase == "loading"
    bench.loaded("a")
    assert bench.states["a"].report().phase == "loaded"
    bench.wait_for("a", None)
    lease = bench.lease("a")

    bench.wait_for("b", bench.now)
    bench.tick(61.0)
    assert (bench.told("a"), bench.told("b")) == (["drain"], [])
    assert bench.states["a"].report().phase == "draining"
    with pytest.raises(NotLoaded, match="finishes its requests before it is unloaded"):
        bench.lease("a")
    bench.tick()
    assert bench.told("a") == [], "a request is in flight"
    lease.release(bench.now, "good")
    bench.tick()
    assert (bench.told("a"), bench.told("b")) == (["unload"], [])
    bench.tick()
    assert bench.told("b") == [], "its memory is not free yet"
    bench.engines["a"].holds_memory = False
    bench.tick()
    assert bench.told("b") == ["load"]
    report = bench.states["a"].report()
    assert (report.phase, report.loads, dict(report.unloads)["swap"]) == ("unloaded", 1, 1)
    assert bench.published > 0


def test_a_request_that_came_in_before_the_drain_was_published_is_seen() -> None:
    bench = Bench(managed("a"), managed("b"), keep=1)
    bench.wait_for("a", bench.now)
    bench.tick()
    bench.loaded("a")
    bench.wait_for("a", None)
    bench.wait_for("b", bench.now)

    def let_in() -> None:
        bench.engines["a"].why, why = "", bench.engines["a"].why
        bench.lease("a")
        bench.engines["a"].why = why

    bench.loader._publish = let_in
    bench.tick(5.0)
    assert bench.told("a") == ["load", "drain"]
    bench.loader._publish = bench.publish
    bench.tick()
    assert bench.told("a") == []


def test_requests_that_cannot_be_ended_are_cut_off_after_the_drain_time() -> None:
    bench = Bench(managed("a", timeouts={"drain_s": 5.0}), managed("b"), keep=1)
    bench.wait_for("a", bench.now)
    bench.tick()
    bench.loaded("a")
    bench.wait_for("a", None)
    bench.lease("a")
    bench.wait_for("b", bench.now)
    bench.tick(61.0)
    bench.tick(4.9)
    assert "unload" not in bench.told("a")
    bench.tick(0.2)
    assert bench.told("a") == ["unload"]


def test_a_failed_model_is_not_waited_for_until_it_may_be_started_again() -> None:
    bench = Bench(managed("a"), managed("b"), keep=1)
    bench.wait_for("a", bench.now)
    bench.tick()
    bench.engines["a"].has_failed = True
    bench.engines["a"].holds_memory = False
    bench.tick()
    assert bench.told("a") == ["load", "unload"]
    with pytest.raises(Unavailable, match="it failed, and is not started again yet") as caught:
        bench.lease("a")
    assert not isinstance(caught.value, NotLoaded)
    bench.wait_for("b", bench.now)
    bench.tick()
    assert bench.told("b") == ["load"]
    assert bench.told("a") == []
    bench.engines["a"].has_failed = False
    bench.tick()
    with pytest.raises(NotLoaded):
        bench.lease("a")
    assert dict(bench.states["a"].report().unloads)["failed"] == 1


def test_a_model_whose_weights_are_still_downloaded_takes_no_place_of_another_one() -> None:
    bench = Bench(managed("a"), managed("b"), keep=1)
    bench.engines["a"].is_preparing = True
    bench.tick()
    bench.wait_for("a", 1000.0)
    bench.wait_for("b", 1001.0)
    bench.tick()
    assert bench.told("a") == []
    assert bench.told("b") == ["load"]
    with pytest.raises(NotLoaded):  # a request may wait for it
        bench.lease("a")
    bench.wait_for("b", None)
    bench.loaded("b")
    bench.engines["a"].is_preparing = False
    bench.tick(5)
    bench.tick()
    assert bench.told("b") == ["drain", "unload"]


@pytest.mark.parametrize("trouble", ["has_failed", "is_preparing"])
def test_a_replica_that_cannot_start_holds_up_no_other_of_its_model(trouble: str) -> None:
    bench = Bench(managed("a", replicas=2), managed("b"), keep=1)
    sick = Engine()
    bench.replicas["a"].append(sick)
    setattr(sick, trouble, True)
    bench.tick()
    bench.wait_for("a", bench.now)
    bench.tick()
    assert bench.told("a") == ["load"]
    bench.loaded("a")
    bench.tick()
    assert bench.lease("a").replica.name == "a"


def test_an_idle_model_is_unloaded() -> None:
    bench = Bench(managed("a", idle_minutes=1.0))
    bench.wait_for("a", bench.now)
    bench.tick()
    bench.loaded("a")
    bench.wait_for("a", None)
    bench.lease("a").release(bench.now + 30.0, "good")
    bench.tick(80.0)
    assert bench.told("a") == ["load"]
    bench.tick(20.0)
    bench.tick()
    assert bench.told("a") == ["drain", "unload"]


def test_hours_start_drain_and_stop_a_model() -> None:
    bench = Bench(managed("a", hours="12:30-13:00 UTC", timeouts={"drain_s": 60.0}))
    bench.tick()
    assert bench.told("a") == []
    with pytest.raises(OutsideHours) as caught:
        bench.lease("a")
    assert caught.value.retry_after_s == pytest.approx(30 * 60, abs=1)
    assert "12:30-13:00 UTC" in caught.value.message
    bench.tick(30 * 60)
    assert bench.told("a") == ["load"]
    with pytest.raises(Unavailable) as not_yet:
        bench.lease("a")
    assert not isinstance(not_yet.value, NotLoaded), "it is not on demand: the next rung answers"
    bench.loaded("a")
    lease = bench.lease("a")
    bench.tick(28.5 * 60)
    assert bench.told("a") == []
    bench.tick(60.0)
    assert bench.told("a") == ["drain"]
    with pytest.raises(OutsideHours) as late:
        bench.lease("a")
    assert late.value.retry_after_s == pytest.approx(23.5 * 3600, abs=60)
    assert bench.told("a") == []
    bench.tick(61.0)
    assert bench.told("a") == ["unload"], "its request was cut off"
    lease.abandon(bench.now)
    assert dict(bench.states["a"].report().unloads)["hours"] == 1


def test_a_member_of_a_group_with_hours_is_loaded_on_demand_within_them() -> None:
    bench = Bench(managed("a", hours="12:30-13:00 UTC"), managed("b"), keep=1)
    bench.wait_for("a", bench.now)
    bench.tick()
    assert bench.told("a") == []
    bench.wait_for("a", None)
    bench.tick(30 * 60)
    assert bench.told("a") == []
    bench.wait_for("a", bench.now)
    bench.tick()
    assert bench.told("a") == ["load"]


def test_the_clock_may_be_set_back() -> None:
    bench = Bench(managed("a", hours="12:30-13:00 UTC"))
    bench.tick(40 * 60)
    assert bench.told("a") == ["load"]
    bench.wall -= timedelta(minutes=20)
    bench.tick()
    assert bench.told("a") == ["unload"], "it was still loading"
    bench.engines["a"].holds_memory = False
    bench.tick(20 * 60)
    assert bench.told("a") == ["load"]


def test_without_such_models_there_is_nothing_to_do() -> None:
    config = Config({"a": managed("a")}, {}, {})
    assert not Loader(config, {"a": Pool(managed("a"), [])}, {"a": []}, lambda: None).is_needed


def test_no_request_sees_a_loaded_model_whose_replicas_are_not_published_yet() -> None:
    bench = Bench(managed("a"), managed("b"), keep=1)
    seen: list[tuple[str, bool]] = []
    bench.loader._publish = lambda: seen.append((bench.states["a"].report().phase, bench.engines["a"].up))
    bench.wait_for("a", bench.now)
    bench.tick()
    bench.loaded("a")
    bench.wait_for("a", None)
    bench.wait_for("b", bench.now)
    bench.tick(5.0)
    assert seen == [("loading", False), ("loading", True), ("draining", False)]
    assert bench.states["a"].report().phase == "draining"
