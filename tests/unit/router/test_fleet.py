"""Which URLs the replicas of a model have."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.fleet import Fleet
from tests.support.fakes import FakeUpstream, config, model


@pytest.mark.parametrize(
    ("url", "asked", "health"),
    [
        ("http://h/v1", "http://h/v1/chat/completions", "http://h/health"),
        ("http://h/v1?key=1", "http://h/v1/chat/completions?key=1", "http://h/health?key=1"),
        ("http://h/api?key=1", "http://h/api/chat/completions?key=1", "http://h/api/health?key=1"),
    ],
)
def test_the_query_of_a_base_url_comes_behind_every_path(url: str, asked: str, health: str, tmp_path: Path) -> None:
    attached = model().model_copy(update={"base_url": (url,)})
    fleet = Fleet(config(attached), FakeUpstream({}), tmp_path, print)
    [replica] = fleet.pools["slm"].replicas
    assert replica.endpoint_url("chat/completions") == asked
    [probe] = fleet._watched["slm"]
    assert probe._url == health
