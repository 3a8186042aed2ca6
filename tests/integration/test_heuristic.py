"""`policy: heuristic`: easy calls go to the small model, hard ones start higher, and the reason says which and why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.behaviours import error
from tests.support.lanes import Lane, Plan


def describe(plan: Plan) -> None:
    plan.slm(context=1_000_000)
    plan.llm()
    plan.route("auto", "slm", "llm", policy="heuristic")
    plan.route("plain", "slm", "llm")
    plan.route("never", "slm", "llm", policy="heuristic", threshold=1.0)
    plan.route("alone", "slm", policy="heuristic")


def words(count: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "word " * count}]


HARD: dict[str, dict[str, Any]] = {
    "long prompt": {"messages": words(20_000)},
    "reasoning": {"reasoning_effort": "high"},
    "many tools and a long talk": {
        "tools": [
            {"type": "function", "function": {"name": f"f{i}", "parameters": {"type": "object"}}} for i in range(16)
        ],
        "messages": [{"role": role, "content": "hm"} for _ in range(12) for role in ("user", "assistant")],
    },
}


def test_an_easy_call_stays_on_the_first_rung(lane: Lane) -> None:
    reply = lane.chat()
    assert reply.said("model") == lane.name("slm")
    assert reply.said("reason").startswith("heuristic")
    assert lane.llm.calls == []


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_hard_call_starts_higher(lane: Lane, kind: str, streamed: bool) -> None:
    reply = lane.stream(**HARD[kind]) if streamed else lane.chat(**HARD[kind])
    assert reply.status == 200
    assert reply.said("model") == lane.name("llm")
    assert reply.said("attempts") == "1"
    assert reply.said("reason").startswith("heuristic: ")
    assert lane.slm.calls == []
    lane.expect(1, "escalations_total", reason="policy")


def test_the_same_hard_call_under_fixed_starts_below(lane: Lane) -> None:
    assert lane.chat("plain", **HARD["long prompt"]).said("model") == lane.name("slm")


def test_the_threshold_moves_the_line(lane: Lane) -> None:
    assert lane.chat("never", **HARD["reasoning"]).said("model") == lane.name("slm")


def test_a_client_can_choose_the_policy(lane: Lane) -> None:
    hard = HARD["reasoning"]
    assert lane.chat("plain", routing={"policy": "heuristic"}, **hard).said("model") == lane.name("llm")
    assert lane.chat("auto", routing={"policy": "fixed"}, **hard).said("model") == lane.name("slm")


def test_a_hard_call_without_a_higher_rung_is_tried(lane: Lane) -> None:
    assert lane.chat("alone", **HARD["reasoning"]).said("model") == lane.name("slm")
    reply = lane.chat(routing={"allow_fallback": False}, **HARD["reasoning"])
    assert reply.said("model") == lane.name("slm")


def test_a_pinned_model_is_not_scored_away(lane: Lane) -> None:
    assert lane.chat("slm", **HARD["long prompt"]).said("model") == lane.name("slm")


def test_an_easy_call_that_fails_still_escalates(lane: Lane) -> None:
    lane.slm.always(error(500))
    reply = lane.chat()
    assert (reply.said("model"), reply.said("reason")) == (lane.name("llm"), "upstream_error")
