"""What the report of the prefix affinity says, and what it calls broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.affinity import __main__ as affinity
from benchmarks.affinity import plot
from benchmarks.affinity.conversations import scripts
from benchmarks.affinity.measure import METRICS, figures, parse
from benchmarks.affinity.report import faults, found_earlier, markdown

ABOUT = {
    "date": "2026-01-01T00:00:00+00:00",
    "machine": {"cpu": "a CPU", "cores": 2, "kernel": "Linux", "python": "3.11"},
    "revision": "abc",
}
PAGE = """# HELP vllm:prefix_cache_hits_total x
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 1000.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 640.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 3.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 4.0
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m"} 9.0
"""


def counted(queries: float, hits: float, requests: float) -> dict[str, float]:
    return dict.fromkeys(METRICS, 0.0) | {"queries": queries, "hits": hits, "requests": requests}


def balance(hits: float, requests: tuple[float, float] = (2, 2)) -> dict[str, Any]:
    turns = [
        {"conversation": number, "turn": turn, "prompt": 100 * turn, "cached": 60 * turn - 10 * number, "seconds": 0.5}
        for number in range(2)
        for turn in (1, 2)
    ]
    samples = [{"at": 0.0, "in_flight": [0, 1]}, {"at": 0.5, "in_flight": [2, 1]}]
    before = [counted(100, 10, 5)] * 2
    after = [counted(400, 10 + hits / 2, 5 + count) for count in requests]
    return {"seconds": 9.0, **figures(before, after, samples, turns), "samples": samples, "turns": turns}


def report(least_loaded: dict[str, Any], prefix: dict[str, Any]) -> dict[str, Any]:
    options = affinity.parse(["--conversations", "2", "--turns", "2"])
    return {**ABOUT, "options": vars(options), "balances": {"least_loaded": least_loaded, "prefix": prefix}}


def test_a_page_of_metrics_is_read() -> None:
    assert parse(PAGE) == {"queries": 1000, "hits": 640, "requests": 7, "running": 2, "waiting": 1}


def test_the_figures() -> None:
    found = balance(240)
    assert found["hit_rate"] == pytest.approx(240 / 600)
    assert (found["queries"], found["hits"], found["requests"]) == ([300, 300], [120, 120], [2, 2])
    assert (found["most_in_flight"], found["mean_in_flight"]) == ([2, 1], [1, 1])
    assert found["cached_by_turn"] == [0.55, 0.575]
    assert found_earlier(found) == 1.0, "96 of 100 tokens are whole blocks"
    found["turns"][-1]["cached"] = 95
    assert found_earlier(found) == 0.5
    text = markdown(report(balance(240), balance(480)), False)
    assert "| prefix cache hit rate (tokens) | 40.0% | 80.0% |" in text
    assert "| prompt tokens that were computed | 360 | 120 |" in text
    assert "report.png" not in text


def test_what_is_not_as_it_must_be_is_named() -> None:
    assert list(faults(report(balance(240), balance(480)))) == []
    assert list(faults(report(balance(480), balance(240, (3, 1))))) == [
        "the hit rate is 40.0% with affinity and 80.0% without",
        "prefix: one replica answered 3 of 4 requests",
    ]
    assert list(faults(report(balance(240), balance(480, (2, 1))))) == [
        "prefix: the replicas answered 3 requests of 4",
    ]


def test_it_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.draw(report(balance(240), balance(480)), tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 1000


def test_conversations_are_the_same_in_every_run_and_share_their_agents_prompt() -> None:
    asked = scripts(6, 3, 2, 1.0)
    assert asked == scripts(6, 3, 2, 1.0)
    assert [len(one.turns) for one in asked] == [3] * 6
    assert asked[0].system == asked[2].system != asked[1].system
    assert len({one.turns[0] for one in asked}) == 6
