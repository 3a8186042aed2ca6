"""A fleet with adapters: whose pools, whose replicas, and what the processes see of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.config.models import Model
from router.fleet import Fleet
from tests.support.fakes import FakeUpstream, config

SMALL = Model(
    name="small",
    tier="slm",
    engine="vllm",
    source="owner/small",
    replicas=2,
    adapters={"orders": "./orders", "tickets": "owner/tickets"},
)


def built(tmp_path: Path, workers: int) -> Fleet:
    return Fleet(config(SMALL, *SMALL.adapter_models), FakeUpstream({}), tmp_path, print, workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_adapters_are_on_the_replicas_of_their_model(tmp_path: Path, workers: int) -> None:
    fleet = built(tmp_path, workers)
    assert list(fleet.pools) == ["small", "orders", "tickets"]
    small, *adapters = fleet.pools.values()
    for pool in adapters:
        for replica, base in zip(pool.replicas, small.replicas, strict=True):
            assert (replica.name, replica.url) == (base.name, base.url)
            assert replica.breaker is base.breaker
            assert replica.share is base.share
    assert [status.restarts for status in fleet.statuses()] == [0, 0, 0]
    assert fleet.statuses()[1].detail == "; ".join(["adapter orders is not loaded yet"] * 2)


def test_when_the_fleet_dies_its_adapters_are_down_with_their_model(tmp_path: Path) -> None:
    fleet = built(tmp_path, 2)
    for _, published in fleet._published:
        published.write(up=True, may_answer=True, restarts=0, detail="")
    assert [status.up for status in fleet.statuses()] == [2, 2, 2]
    fleet.mark_down()
    statuses = fleet.statuses()
    assert [status.up for status in statuses] == [0, 0, 0]
    assert [status.restarts for status in statuses] == [2, 0, 0], "restarts are those of the replicas"
    assert statuses[1].detail == "; ".join(["restarting: its supervisor stopped"] * 2)
