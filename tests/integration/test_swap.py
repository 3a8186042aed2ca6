"""Models that take turns in memory, behind the real gateway; small servers stand in for vLLM."""

from __future__ import annotations

import asyncio
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway import ROOT, Gateway
from tests.support.standin_vllm import install, most_loaded, read_events
from tests.support.upstream import Upstream
from tests.support.waiting import PATIENCE_S, wait_until

KEEP_ALIVE = "from server.http import keepalive; keepalive.COMMENT_INTERVAL_S = 0.05"
QUIET = "from router.loading import decide; assert decide.QUIET_S; decide.QUIET_S = 0.2"
CHAT = {"messages": [{"role": "user", "content": "Hello"}]}


def managed(folder: Path, **more: Any) -> dict[str, Any]:
    weights = folder / "weights"
    weights.mkdir(exist_ok=True)
    return {"tier": "slm", "engine": "vllm", "source": str(weights), "price": {"replica_hour_usd": 3.6}} | more


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events_file = folder / "events"

    def gateway(self, config: dict[str, Any], *, workers: int = 1, patch: str = "", **env: str) -> Gateway:
        packages = install(self.folder / "packages")
        path = os.pathsep.join([str(packages), str(ROOT)])
        env = {"PYTHONPATH": path, "VLLM_STANDIN_EVENTS": str(self.events_file)} | env
        args = (f"--workers={workers}", "--warm-start=false")
        return Gateway(config, self.folder / "gateway", env=env, args=args, patch=f"{QUIET}\n{patch}")

    def config(self, names: str = "abc", keep: int = 2, **group: Any) -> dict[str, Any]:
        models = {name: managed(self.folder) for name in names}
        return {"models": models, "swap": {"small": {"models": list(names), "keep": keep, **group}}}

    @property
    def events(self) -> list[Any]:
        return read_events(self.events_file)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def ask(gateway: Gateway, model: str, **fields: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json={"model": model, **CHAT, **fields})


def paid_usd(gateway: Gateway) -> float:
    return gateway.metrics().value("smallfirst_replica_paid_usd_total", model="a")


async def _ask_all(gateway: Gateway, models: list[str], concurrency: int, **fields: Any) -> list[tuple[str, int, str]]:
    slots = asyncio.Semaphore(concurrency)
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=PATIENCE_S, trust_env=False, limits=limits) as client:

        async def one(model: str) -> tuple[str, int, str]:
            async with slots:
                answer = await client.post("/v1/chat/completions", json={"model": model, **CHAT, **fields})
            return model, answer.status_code, answer.text

        return await asyncio.gather(*map(one, models))


@pytest.mark.parametrize("workers", [1, 2])
def test_every_request_is_answered_by_its_model_though_not_all_are_loaded(bench: Bench, workers: int) -> None:
    config = bench.config(turn_s=0.3)
    with bench.gateway(config, workers=workers, VLLM_STANDIN_WORD_S="0.002") as gateway:
        assert gateway.http.get("/ready").json()["status"] == "ready", "what is not loaded is loaded on demand"
        answers = asyncio.run(_ask_all(gateway, list("abcabcccbbaa" * 10), concurrency=12))
        assert {status for _, status, _ in answers} == {200}
        for model, _, text in answers:
            assert f"{model}-0 " in text
        metrics = gateway.metrics()
        loads = {model: metrics.value("smallfirst_model_loads_total", model=model) for model in "abc"}
        assert all(loads.values())
        assert metrics.value("smallfirst_model_unloads_total", reason="swap") >= 1
        assert metrics.value("smallfirst_requests_waiting") == 0
        assert metrics.value("smallfirst_model_wait_seconds_count") >= 3
        assert metrics.value("smallfirst_replica_restarts_total") == 0
    events = bench.events
    assert most_loaded(events) == 2
    assert {event.what for event in events} == {"up", "down"}, "none was stopped while it was busy"


def test_a_stream_that_waits_for_its_model_is_kept_alive_and_its_headers_are_true(bench: Bench) -> None:
    config = {"models": {"a": managed(bench.folder, idle_minutes=60)}}
    with bench.gateway(config, patch=KEEP_ALIVE, VLLM_STANDIN_LOAD_S="0.5") as gateway:
        body = {"model": "a", "stream": True, **CHAT}
        with gateway.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.headers["x-smallfirst-route"] == "a"
            assert "x-smallfirst-model" not in answer.headers, "no model has answered yet"
            lines = [line for line in answer.iter_lines() if line]
        assert lines[0] == ": waiting"
        assert lines[-1] == "data: [DONE]"
        [told] = [json.loads(line.removeprefix(": smallfirst ")) for line in lines if line.startswith(": smallfirst")]
        assert (told["model"], told["attempts"], told["reason"]) == ("a", 1, "fixed")
        again = ask(gateway, "a")
        assert again.headers["x-smallfirst-model"] == "a"
        assert gateway.metrics().value("smallfirst_model_wait_seconds_count", model="a") == 1, "it was loaded already"


def test_a_request_that_waited_too_long_goes_to_the_next_rung_or_fails(bench: Bench) -> None:
    config = bench.config("ab", keep=1)
    config["models"]["b"]["timeouts"] = {"load_s": 0.3}
    config["models"]["c"] = managed(bench.folder)
    config["routes"] = {"auto": {"ladder": ["b", "c"]}}
    with bench.gateway(config, VLLM_STANDIN_WORD_S="0.5") as gateway:
        gateway.wait_for_ready()
        wait_until(lambda: gateway.metrics().value("smallfirst_replicas_up", model="c") == 1)
        body = {"model": "a", "stream": True, "max_tokens": 10_000, **CHAT}
        with gateway.http.stream("POST", "/v1/chat/completions", json=body) as busy:
            lines = busy.iter_lines()
            next(lines)
            refused = ask(gateway, "b")
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "model_not_loaded"
            assert int(refused.headers["retry-after"]) >= 1
            answered = ask(gateway, "auto", max_tokens=1)
            assert (answered.status_code, answered.headers["x-smallfirst-model"]) == (200, "c")
            assert answered.headers["x-smallfirst-reason"] == "unavailable"
        gateway.assert_idle()
    assert [event.what for event in bench.events if event.model == "b"] == []


def test_a_client_that_leaves_while_it_waits_causes_no_load(bench: Bench) -> None:
    with bench.gateway(bench.config("ab", keep=1), VLLM_STANDIN_WORD_S="0.2") as gateway:
        body = {"model": "a", "stream": True, "max_tokens": 10_000, **CHAT}
        with gateway.http.stream("POST", "/v1/chat/completions", json=body) as busy:
            lines = busy.iter_lines()
            next(lines)
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{gateway.url}/v1/chat/completions", json={"model": "b", **CHAT}, timeout=0.5)
            wait_until(lambda: gateway.metrics().value("smallfirst_requests_waiting") == 0)
            assert gateway.metrics().value("smallfirst_requests_in_flight") == 1
        time.sleep(0.5)  # long enough for a swap, if one had been asked for
        assert gateway.metrics().value("smallfirst_model_loads_total", model="b") == 0
        assert gateway.metrics().value("smallfirst_requests_total", model="none", outcome="disconnected") == 1


def test_an_idle_model_is_unloaded_and_costs_nothing_until_it_is_asked_again(bench: Bench) -> None:
    config = {"models": {"a": managed(bench.folder, idle_minutes=0.3 / 60)}}
    with bench.gateway(config) as gateway:
        assert paid_usd(gateway) == 0
        assert ask(gateway, "a").status_code == 200
        wait_until(lambda: gateway.metrics().value("smallfirst_model_unloads_total", model="a", reason="idle") == 1)
        wait_until(lambda: bench.events[-1].what == "down")
        wait_until(lambda: paid_usd(gateway) == paid_usd(gateway), "the money stands still")
        paid = paid_usd(gateway)
        ready = gateway.http.get("/ready").json()
        assert (ready["status"], ready["models"]["a"]["load"]) == ("ready", "unloaded")
        assert gateway.metrics().value("smallfirst_replicas_expected", model="a") == 0
        assert paid_usd(gateway) == paid > 0
        assert ask(gateway, "a").status_code == 200
        assert gateway.metrics().value("smallfirst_model_loads_total", model="a") == 2
        assert paid_usd(gateway) > paid


def test_a_model_that_cannot_be_loaded_fails_its_own_requests_only(bench: Bench) -> None:
    with bench.gateway(bench.config(keep=1), VLLM_STANDIN_FAIL="c") as gateway:
        began = time.monotonic()
        models = list("abcabc")
        answers = asyncio.run(_ask_all(gateway, models, concurrency=6))
        assert [status for _, status, _ in answers] == [503 if model == "c" else 200 for model in models]
        assert time.monotonic() - began < PATIENCE_S, "not after `load_s`, three minutes"
        assert gateway.metrics().value("smallfirst_model_unloads_total", model="c", reason="failed") >= 1


def closed() -> str:
    """Hours that begin in six hours."""
    begin = datetime.now(UTC) + timedelta(hours=6)
    return f"{begin:%H:%M}-{begin + timedelta(hours=1):%H:%M} UTC"


def open_now() -> str:
    begin = datetime.now(UTC)
    return f"{begin - timedelta(hours=6):%H:%M}-{begin + timedelta(hours=6):%H:%M} UTC"


@pytest.mark.parametrize("workers", [1, 2])
def test_outside_its_hours_a_model_is_not_missed(bench: Bench, workers: int) -> None:
    with Upstream() as upstream:
        attached = {"tier": "slm", "engine": "vllm", "base_url": upstream.url("far")}
        config = {
            "models": {
                "night": managed(bench.folder, hours=closed()),
                "far": attached | {"hours": closed()},
                "day": managed(bench.folder, hours=open_now()),
                "all": managed(bench.folder),
            },
            "routes": {"auto": {"ladder": ["night", "far", "all"]}},
        }
        with bench.gateway(config, workers=workers) as gateway:
            gateway.wait_for_ready()
            wait_until(lambda: gateway.metrics().value("smallfirst_replicas_expected", model="day") == 1)
            answer = ask(gateway, "auto")
            assert (answer.status_code, answer.headers["x-smallfirst-model"]) == (200, "all")
            assert answer.headers["x-smallfirst-reason"] == "hours"
            pinned = ask(gateway, "night")
            assert (pinned.status_code, pinned.json()["error"]["code"]) == (503, "outside_hours")
            assert int(pinned.headers["retry-after"]) > 5 * 3600
            assert ask(gateway, "day").status_code == 200
            metrics = gateway.metrics()
            for model, expected in {"night": 0, "far": 0, "day": 1, "all": 1}.items():
                assert metrics.value("smallfirst_replicas_expected", model=model) == expected
                assert metrics.value("smallfirst_replicas_up", model=model) == expected
            assert metrics.value("smallfirst_replica_paid_usd_total", model="night") == 0
            assert metrics.value("smallfirst_requests_total", outcome="upstream_error") == 0
            assert gateway.http.get("/ready").json()["status"] == "ready"
        assert not upstream.called("far"), "it is not even asked for its health"
    assert {event.model for event in bench.events} == {"day", "all"}
