"""Which URLs the replicas of a model have, and what is forgotten when they come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.fleet import Fleet
from router.profile.adaptation import Adaptation
from router.replicas.probe import Probe
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


def test_what_was_learned_of_a_server_is_forgotten_when_it_comes_back(tmp_path: Path) -> None:
    fleet = Fleet(config(model()), FakeUpstream({}), tmp_path, print)
    fleet.profiles.learn("slm", [Adaptation("refuses", "seed")], 0.0)
    [probe] = [replica.liveness for replica in fleet.pools["slm"].replicas]
    assert isinstance(probe, Probe)
    probe._note(False)
    probe._note(True)
    assert fleet.profiles.lines("slm", 0.0)[0], "one late check is no restart"
    for healthy in (False, False, True):
        probe._note(healthy)
    assert fleet.profiles.lines("slm", 0.0)[0] == []
