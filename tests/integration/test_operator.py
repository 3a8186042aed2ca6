"""/health, /ready, /docs: what an operator and an orchestrator ask."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.gateway import Gateway
from tests.support.lanes import Lane, Plan, models_yaml, usual
from tests.support.upstream import Upstream, respond


def describe(plan: Plan) -> None:
    usual(plan)
    plan.slm("gone", base_url=plan.upstream.silent_url)


def test_health_touches_no_upstream(gateway: Gateway) -> None:
    for _ in range(3):
        response = gateway.http.get("/health", timeout=1)
        assert response.status_code == 200
        assert response.json()["status"] == "ok"


def test_it_starts_in_seconds(gateway: Gateway) -> None:
    assert gateway.started_in_s < 5, "it imports neither torch nor vllm"


def test_ready_says_what_serves(lane: Lane) -> None:
    response = lane.gateway.http.get("/ready")
    assert response.status_code == 200
    assert lane.name("slm") in response.text


def test_ready_is_503_while_nobody_can_answer_and_says_why(upstream: Upstream, tmp_path: Path) -> None:
    site = upstream.site("dying")
    site.health = respond(503)
    model = {"tier": "slm", "engine": "vllm", "base_url": upstream.url("dying")}
    config = {"models": {"dying": model}, "routes": {"auto": {"ladder": ["dying"]}}}
    with Gateway(config, tmp_path) as gateway:
        body = gateway.wait_for_ready(15, status="unavailable")
        assert gateway.http.get("/ready").status_code == 503
        assert "dying" in str(body)
        assert "health" in str(body)
        assert gateway.http.get("/health").status_code == 200
        response = gateway.http.post("/v1/chat/completions", json={"model": "auto", "messages": [
            {"role": "user", "content": "hi"}]})  # fmt: skip
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "model_unavailable"
        assert int(response.headers["retry-after"]) >= 1
        assert gateway.metrics().value("smallfirst_replicas_up", model="dying") == 0
        site.health = respond(200)
        gateway.wait_for_ready(15)
        assert gateway.metrics().value("smallfirst_replicas_up", model="dying") == 1


def test_ready_is_200_but_degraded_while_the_fallback_serves(upstream: Upstream, tmp_path: Path) -> None:
    config = models_yaml(upstream, 1, usual)
    upstream.site("slm-0").health = respond(500)
    with Gateway(config, tmp_path) as gateway:
        gateway.wait_for_ready(15, status="degraded")
        assert gateway.http.get("/ready").status_code == 200
        lane = Lane(0, gateway, upstream)
        reply = lane.chat()
        assert (reply.said("model"), reply.said("reason")) == (lane.name("llm"), "unavailable")
        assert lane.slm.calls == [], "a replica that is known to be down is not asked"
    upstream.site("slm-0").health = respond(200)


def test_probes_cost_no_tokens_and_carry_no_key(lane: Lane) -> None:
    end = time.monotonic() + 10
    while not lane.slm.probes:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert lane.slm.calls == []
    assert lane.llm.probes == 0, "an API is not asked just so"


def test_docs_work_without_the_internet(gateway: Gateway) -> None:
    page = gateway.http.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text.replace("https://json-schema.org", "")
    assert len(page.headers.get_list("x-request-id")) == 1


def test_openapi_describes_every_endpoint(gateway: Gateway) -> None:
    document = gateway.http.get("/openapi.json").json()
    assert {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/health",
        "/ready",
        "/metrics",
    } <= {path.replace("{model}", "{name}").replace("{name:path}", "{name}") for path in document["paths"]}


def test_the_console_script_is_installed() -> None:
    import subprocess
    import sys

    script = Path(sys.executable).with_name("smallfirst")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert "serve" in done.stdout
