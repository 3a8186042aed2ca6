"""/health, /ready, /docs: what an operator and an orchestrator ask."""

from __future__ import annotations

from pathlib import Path

from tests.support.behaviours import respond
from tests.support.gateway import START_S, Gateway
from tests.support.lanes import Lane, Plan, models_yaml, usual
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until


def describe(plan: Plan) -> None:
    usual(plan)
    plan.slm("gone", base_url=plan.upstream.silent_url)
    plan.slm("locked", api_key="sk-of-the-vllm")


def test_health_touches_no_upstream(gateway: Gateway) -> None:
    for _ in range(3):
        response = gateway.http.get("/health")
        assert response.status_code == 200
        assert response.json()["status"] == "ok"


def test_ready_says_what_serves(lane: Lane) -> None:
    response = lane.gateway.http.get("/ready")
    assert response.status_code == 200
    assert lane.name("slm") in response.text


def test_ready_follows_what_can_answer(tmp_path: Path) -> None:
    """Nobody: unavailable, 503. The fallback alone: degraded, 200. All: ready."""
    with Upstream() as upstream:
        for site in ("slm-0", "big-0"):
            upstream.site(site).health = respond(503)
        with Gateway(models_yaml(upstream, 1, two_vllms), tmp_path) as gateway:
            mapped = Path(f"/proc/{gateway.process.pid}/maps").read_text()
            assert "/torch/" not in mapped
            assert "/vllm/" not in mapped
            lane = Lane(0, gateway, upstream)
            body = gateway.wait_for_ready(status="unavailable")
            assert gateway.http.get("/ready").status_code == 503
            for name in ("slm-0", "big-0"):
                assert "health" in body["models"][name]["detail"]
                assert body["models"][name]["up"] == 0
            assert gateway.http.get("/health").status_code == 200
            for reply in (lane.chat(), lane.stream(), lane.chat("slm")):
                assert reply.status == 503
                assert reply.error["code"] == "model_unavailable"
                assert int(reply.headers["retry-after"]) >= 1
            assert lane.counter("replicas_up") == 0

            lane.site("big").health = respond(200)
            gateway.wait_for_ready(status="degraded")
            assert gateway.http.get("/ready").status_code == 200
            reply = lane.chat()
            assert (reply.said("model"), reply.said("reason")) == ("big-0", "unavailable")
            assert lane.slm.calls == [], "a replica that is known to be down is not asked"

            lane.slm.health = respond(200)
            gateway.wait_for_ready()
            assert lane.chat().said("model") == "slm-0"
            assert lane.counter("replicas_up") == 2


def two_vllms(plan: Plan) -> None:
    plan.slm()
    plan.slm("big", tier="llm")
    plan.route("auto", "slm", "big")


def test_probes_cost_no_tokens_and_carry_no_key(lane: Lane) -> None:
    site = lane.site("locked")
    wait_until(lambda: site.probes, "a probe")
    assert {probe.path for probe in site.probes} == {"health"}
    assert [probe.header("authorization") for probe in site.probes if probe.header("authorization")] == []
    assert site.calls == []
    assert lane.llm.probes == [], "an API is not asked just so"


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
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=START_S, check=False)
    assert done.returncode == 0
    assert "serve" in done.stdout
