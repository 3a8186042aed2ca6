"""Rungs that cannot take a call, known before they are asked: unable, too small, or not there at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.behaviours import answer
from tests.support.lanes import LONG, Lane, Plan


def describe(plan: Plan) -> None:
    plan.slm()
    plan.llm()
    plan.route("auto", "slm", "llm")
    plan.slm("down", engine="openai", base_url=plan.upstream.refusing_url)
    plan.route("over-down", "down", "llm")
    plan.route("only-down", "down")
    plan.slm("silent", engine="openai", base_url=plan.upstream.silent_url, timeouts=LONG | {"connect_s": 0.3})
    plan.route("over-silent", "silent", "llm")
    plan.slm("plain", abilities=[])
    plan.route("over-plain", "plain", "llm")
    plan.route("only-plain", "plain")
    plan.llm("seeing", abilities=["image", "tools", "structured", "logprobs"])
    plan.route("see", "slm", "llm", "seeing")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_replica_that_refuses_the_connection(lane: Lane, streamed: bool) -> None:
    reply = lane.stream("over-down") if streamed else lane.chat("over-down")
    lane.assert_escalated(reply, "unavailable")


def test_a_host_that_does_not_answer_the_connect(lane: Lane) -> None:
    reply = lane.chat("over-silent")
    assert reply.said("model") == lane.name("llm")
    assert reply.said("reason") in ("unavailable", "timeout"), "by connect_s: other limits are longer than a test waits"


def test_down_and_alone_is_a_503_or_502_with_the_models_name(lane: Lane) -> None:
    reply = lane.chat("only-down")
    assert reply.status in (502, 503)
    assert lane.name("down") in reply.error["message"]


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
NEEDS: dict[str, dict[str, Any]] = {
    "tools": {"tools": TOOLS},
    "structured": {"response_format": {"type": "json_object"}},
    "logprobs": {"logprobs": True},
}


@pytest.mark.parametrize("ability", NEEDS)
def test_a_needed_ability_that_the_model_lacks(lane: Lane, ability: str) -> None:
    lane.llm.always(answer("{}"))
    lane.assert_escalated(lane.chat("over-plain", **NEEDS[ability]), "ability", attempts=1)
    assert lane.site("plain").calls == []


@pytest.mark.parametrize("ability", NEEDS)
def test_a_needed_ability_that_nobody_has_is_a_clear_400(lane: Lane, ability: str) -> None:
    for model in ("only-plain", "plain"):
        reply = lane.chat(model, **NEEDS[ability])
        assert reply.status == 400
        assert ability in reply.error["message"]
        assert reply.error["type"] == "invalid_request_error"
    assert lane.site("plain").calls == []


def test_an_image_climbs_to_the_rung_that_sees(lane: Lane) -> None:
    lane.assert_escalated(lane.chat("see", messages=IMAGE), "ability", to="seeing", attempts=1)
    assert lane.site("seeing").last.json["messages"] == IMAGE
    assert lane.slm.calls == []
    assert lane.llm.calls == []
    lane.expect(2, "escalations_total", route="see", reason="ability")


def test_tools_none_and_empty_need_no_ability(lane: Lane) -> None:
    for fields in ({"tools": []}, {"logprobs": False}, {"response_format": {"type": "text"}}):
        assert lane.chat("over-plain", **fields).said("model") == lane.name("plain")


def test_a_prompt_that_surely_does_not_fit_is_not_sent(lane: Lane) -> None:
    long = [{"role": "user", "content": "word " * 40_000}]
    lane.assert_escalated(lane.chat(messages=long), "context", attempts=1)
    assert lane.slm.calls == []
    assert lane.llm.last.json["messages"] == long


def test_more_tokens_wanted_than_the_context_holds(lane: Lane) -> None:
    reply = lane.chat(max_tokens=4096)
    assert reply.said("model") == lane.name("slm"), "a safety cap is no reason to ask the dear model"
    limit = int(reply.said("adapted").removeprefix("max_tokens="))
    assert limit < 2048
    refused = lane.chat(max_tokens=4096, routing={"clamp_max_tokens": False})
    lane.assert_escalated(refused, "context", attempts=1)
