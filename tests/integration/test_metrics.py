"""/metrics: names and labels that alerts and dashboards rely on, bounded, and sums that agree with the headers."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.behaviours import CUT, Behaviour, Gate, answer, error, stream, too_long
from tests.support.caller import Caller
from tests.support.gateway import ROOT, Gateway
from tests.support.lanes import Lane, usual
from tests.support.stream_events import DONE, delta, finished, first, usage_of
from tests.support.waiting import PATIENCE_S

describe = usual


def test_the_content_type_is_prometheus(gateway: Gateway) -> None:
    assert gateway.http.get("/metrics").headers["content-type"].startswith("text/plain; version=")


def test_unknown_models_never_become_labels(lane: Lane) -> None:
    series = lane.metrics().series
    for number in range(50):
        body = json.dumps({"model": f"made-up-{number}", "messages": [{"role": "user", "content": "x"}]})
        assert lane.post("/v1/chat/completions", body).status_code == 404
    metrics = lane.metrics()
    assert "made-up" not in metrics.text
    assert metrics.series - series < 60, "one more set of series at most, for all of them together"
    assert metrics.value("smallfirst_requests_total", outcome="client_error", route="none") >= 49


def test_unknown_paths_never_become_labels(gateway: Gateway) -> None:
    for number in range(5):
        gateway.http.get(f"/v1/made-up-path-{number}")
    assert "made-up-path" not in gateway.metrics().text


def test_requests_and_tokens_add_up(lane: Lane) -> None:
    lane.slm.then(
        answer(usage=usage_of(10, 2)),
        answer(usage=usage_of(100, 20)),
        error(500),
        too_long(),
        stream(first(), delta("x"), CUT),
    )
    lane.llm.always(answer(usage=usage_of(1000, 200, cached=300)))
    assert lane.chat().status == 200
    assert lane.stream().status == 200
    assert lane.chat().status == 200
    assert lane.stream().status == 200
    assert lane.stream().transcript.error is not None
    assert lane.chat(temperature="hot").status == 400
    lane.expect(1, "requests_total", outcome="upstream_error")
    slm, llm = lane.name("slm"), lane.name("llm")
    metrics, route = lane.metrics(), lane.name("auto")
    requests = {
        (labels["model"], labels["outcome"]): value
        for labels, value in metrics.matching("smallfirst_requests_total", route=route)
        if value
    }
    assert requests == {(slm, "ok"): 2, (llm, "ok"): 2, (slm, "upstream_error"): 1}
    tokens = {
        (labels["model"], labels["kind"]): value
        for labels, value in metrics.matching("smallfirst_tokens_total")
        if labels["model"] in (slm, llm) and value
    }
    assert tokens == {
        (slm, "prompt"): 110,
        (slm, "completion"): 22,
        (llm, "prompt"): 2000,
        (llm, "cached_prompt"): 600,
        (llm, "completion"): 400,
    }
    assert metrics.value("smallfirst_escalations_total", route=route, from_model=slm, to_model=llm) == 2
    durations = metrics.value("smallfirst_request_duration_seconds_count", route=route)
    assert durations == 5
    assert metrics.value("smallfirst_time_to_first_token_seconds_count", route=route, model=slm) >= 2


def test_the_cost_counters_are_the_sum_of_the_headers(lane: Lane) -> None:
    spent = saved = Decimal(0)
    for prompt in (1, 17, 333):
        lane.slm.then(answer(usage=usage_of(prompt, 5)), answer(usage=usage_of(prompt, 3)))
        reply = lane.chat()
        spent += reply.dollars("cost-usd")
        saved += reply.dollars("saved-usd")
        summary = lane.stream().transcript.summary
        spent += Decimal(str(summary["cost_usd"]))
        saved += Decimal(str(summary["saved_usd"]))
    lane.slm.then(error(500))
    reply = lane.chat()
    spent += reply.dollars("cost-usd")
    saved += reply.dollars("saved-usd")
    lane.expect(7, "requests_total")
    cost = lane.counter("cost_usd_total", route=lane.name("auto"))
    fallback = lane.counter("fallback_cost_usd_total", route=lane.name("auto"))
    assert round(cost * 10**9) == spent * 10**9
    assert round((fallback - cost) * 10**9) == saved * 10**9


def test_the_ledger_is_the_sum_of_what_the_upstreams_counted(lane: Lane) -> None:
    slm, llm = (50, 50, 100), (400, 100, 1600)  # nano-dollars of a fresh, a cached and a completion token
    expected = 0

    def told(prices: tuple[int, int, int], prompt: int, completion: int, cached: int = 0, **said: Any) -> Behaviour:
        nonlocal expected
        expected += (prompt - cached) * prices[0] + cached * prices[1] + completion * prices[2]
        return answer(usage=usage_of(prompt, completion, cached=cached), **said)

    form = {"response_format": {"type": "json_object"}}
    lane.slm.then(told(slm, 1000, 20, cached=900), told(slm, 31, 7), told(slm, 40, 8), told(slm, 41, 9))
    lane.llm.then(told(llm, 50, 6, cached=30, text="{}"), told(llm, 60, 5, cached=1))
    lane.chat()
    lane.stream()
    lane.chat(**form)  # two answers that are no JSON, and the large one's
    lane.slm.then(error(500))
    lane.stream()
    lane.expect(4, "requests_total")
    assert round(lane.counter("cost_usd_total", route=lane.name("auto")) * 10**9) == expected


def test_first_token_is_when_content_comes_not_when_the_answer_ends(lane: Lane) -> None:
    gate = Gate()
    lane.slm.then(stream(first(), delta("x"), gate, finished(), DONE))
    with Caller(lane.gateway, lane.body(stream=True)) as caller:
        caller.read_until(b'"x"')
        caller.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            caller.read_until(b"[DONE]")
        gate.set()
        caller.socket.settimeout(PATIENCE_S)
        caller.read_until(b"[DONE]")
    lane.gateway.assert_idle()
    lane.expect(1, "requests_total")
    first_token = lane.counter("time_to_first_token_seconds_sum", route=lane.name("auto"))
    duration = lane.counter("request_duration_seconds_sum", route=lane.name("auto"))
    assert duration - first_token > 0.25


def test_in_flight_is_what_is_in_flight(lane: Lane) -> None:
    gate = Gate()
    lane.slm.then(stream(first(), delta("x"), gate, finished(), DONE))
    with Caller(lane.gateway, lane.body(stream=True)) as caller:
        caller.read_until(b'"x"')
        assert lane.metrics().value("smallfirst_requests_in_flight") == 1
        assert lane.metrics().value("smallfirst_replica_in_flight", model=lane.name("slm")) == 1
        gate.set()
        caller.read_until(b"[DONE]")
    lane.gateway.assert_idle()


def test_scraping_and_probing_are_not_counted(lane: Lane) -> None:
    lane.chat()
    lane.expect(1, "requests_total")
    before = lane.counter("requests_total")
    for path in ("/health", "/ready", "/metrics", "/v1/models", "/nothing"):
        lane.gateway.http.get(path)
    assert lane.counter("requests_total") == before


def test_every_metric_that_alerts_and_dashboards_name_is_there(lane: Lane) -> None:
    assert lane.chat().status == 200
    lane.slm.then(error(500))
    assert lane.chat().status == 200
    lane.expect(2, "requests_total")
    exposed = set(re.findall(r"^# TYPE (smallfirst_\w+)", lane.metrics().text, re.MULTILINE))
    files = [path for path in Path(ROOT / "deploy").rglob("*") if path.suffix in (".yml", ".yaml", ".json")]
    named = {
        name: path.name
        for path in files
        if not path.name.endswith("_test.yml")
        for name in re.findall(r"(?<!:)\bsmallfirst_[a-z_]+", path.read_text())  # behind a colon: recorded by us
    }
    assert named, "deploy/ names no metric"
    known = exposed | {f"{name}_{part}" for name in exposed for part in ("bucket", "sum", "count", "total")}
    assert {name: where for name, where in named.items() if name not in known} == {}
