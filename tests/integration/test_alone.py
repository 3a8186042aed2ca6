"""Where nobody else can or may answer: the failure is a clear error, and nobody is asked against the client's will."""

from __future__ import annotations

import time

import pytest

from tests.support.behaviours import CUT, HANG, error, raw, respond, too_long
from tests.support.lanes import BRIEF, Lane, Plan


def describe(plan: Plan) -> None:
    plan.slm()
    plan.llm()
    plan.route("auto", "slm", "llm")
    plan.route("alone", "slm")
    plan.slm("brief", timeouts=BRIEF)
    plan.route("auto-brief", "brief", "llm")
    plan.route("alone-brief", "brief")


def test_the_last_rung_failing_too_is_the_last_rungs_error(lane: Lane) -> None:
    lane.slm.always(error(500, "slm broke"))
    lane.llm.always(error(500, "llm broke"))
    reply = lane.chat()
    assert reply.status == 502
    assert reply.error["code"] == "upstream_error"
    lane.expect(1, "requests_total", outcome="upstream_error")


ALONE = {
    "500": (error(500), 502, "upstream_error"),
    "cut": (raw(CUT), 502, "upstream_error"),
    "garbage": (respond(200, "<html>Bad Gateway</html>"), 502, "upstream_error"),
    "503": (error(503, headers={"retry-after": "7"}), 503, None),
    "429": (error(429, code="rate_limit_exceeded", headers={"retry-after": "7"}), 429, "rate_limit_exceeded"),
    "too long": (too_long(), 400, "context_length_exceeded"),
    "our key refused": (error(401), 502, None),
}
SILENT = {"silent": (raw(HANG), 504, "upstream_timeout")}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("failure", ALONE | SILENT)
@pytest.mark.parametrize("model", ["alone", "slm"])
def test_alone_or_pinned_a_failure_is_a_clear_error(lane: Lane, model: str, failure: str, streamed: bool) -> None:
    behaviour, status, code = (ALONE | SILENT)[failure]
    small = "brief" if failure in SILENT else "slm"
    if failure in SILENT:
        model = {"slm": "brief", "alone": "alone-brief"}[model]
    lane.site(small).always(behaviour)
    reply = lane.stream(model) if streamed else lane.chat(model)
    assert (reply.status, reply.error["code"]) == (status, code or reply.error["code"])
    assert lane.llm.calls == [], "a pinned model is never swapped"
    assert lane.site(small).asked <= 2
    if status in (429, 503):
        assert 6 <= int(reply.headers["retry-after"]) <= 8


@pytest.mark.parametrize("failure", ["500", "429", "too long"])
def test_a_client_can_forbid_the_fallback(lane: Lane, failure: str) -> None:
    lane.slm.always(ALONE[failure][0])
    reply = lane.chat(routing={"allow_fallback": False})
    assert reply.status >= 400
    assert reply.error["message"]
    assert lane.llm.calls == []


def test_forbidding_the_fallback_of_a_pinned_model_changes_nothing(lane: Lane) -> None:
    assert lane.chat("slm", routing={"allow_fallback": False}).status == 200


@pytest.mark.parametrize("streamed", [False, True])
def test_a_deadline_ends_the_request_on_whatever_rung(lane: Lane, streamed: bool) -> None:
    lane.site("brief").always(raw(HANG))
    lane.llm.always(raw(HANG))
    began = time.monotonic()
    routing = {"deadline_ms": 4000}
    reply = lane.stream("auto-brief", routing=routing) if streamed else lane.chat("auto-brief", routing=routing)
    assert time.monotonic() - began > 3.9
    assert reply.status == 504
    assert reply.error["type"] == "server_error"
    lane.llm.last.wait_closed()


def test_a_cost_limit_refuses_before_anything_is_asked(lane: Lane) -> None:
    reply = lane.chat(max_tokens=1000, routing={"max_cost_usd": 0.0000001})
    assert reply.status == 400
    assert reply.error["code"] == "max_cost_exceeded"
    assert lane.slm.calls == []
    assert lane.llm.calls == []


def test_a_cost_limit_that_the_small_one_keeps_lets_it_answer(lane: Lane) -> None:
    reply = lane.chat(max_tokens=1000, routing={"max_cost_usd": 0.001})
    assert reply.said("model") == lane.name("slm")


def test_a_cost_limit_forbids_the_dearer_rung(lane: Lane) -> None:
    lane.slm.always(error(500))
    reply = lane.chat(max_tokens=1000, routing={"max_cost_usd": 0.001})
    assert reply.status >= 400
    assert lane.llm.calls == []


def test_the_clients_own_fault_is_not_escalated(lane: Lane) -> None:
    lane.slm.always(error(400, "logit_bias is missing", code="missing_required_parameter", param="logit_bias"))
    for reply in (lane.chat(), lane.stream()):
        assert reply.status == 400
        assert reply.error["param"] == "logit_bias"
    assert lane.llm.calls == []
    lane.expect(2, "requests_total", outcome="client_error")
