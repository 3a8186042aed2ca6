"""A server that is too busy for its health check still answers: it is asked where no other model can answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.behaviours import HANG, answer, error, raw
from tests.support.gateway import Gateway
from tests.support.lanes import LLM_PRICE, UPSTREAM_KEY
from tests.support.upstream import Upstream


def test_late_health_checks_leave_no_route_without_an_answer(tmp_path: Path) -> None:
    with Upstream() as upstream:
        busy, big = upstream.site("busy"), upstream.site("big")
        busy.health = raw(HANG)
        busy.always(answer("Paris."))
        models = {
            "busy": {"tier": "slm", "engine": "vllm", "base_url": upstream.url("busy")},
            "big": {"tier": "llm", "engine": "openai", "base_url": upstream.url("big")}
            | {"api_key": UPSTREAM_KEY, "price": LLM_PRICE},
        }
        config = {"models": models, "routes": {"auto": {"ladder": ["busy", "big"]}, "alone": {"ladder": ["busy"]}}}
        with Gateway(config, tmp_path) as gateway:
            ready = gateway.wait_for_ready(status="degraded")
            assert ready["models"]["busy"]["up"] == 0

            listed = [one["id"] for one in gateway.http.get("/v1/models").json()["data"]]
            assert listed == ["alone", "auto", "big", "busy"], "whoever is down"

            def ask(model: str) -> Any:
                body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
                return gateway.http.post("/v1/chat/completions", json=body)

            for model in ("alone", "busy"):
                reply = ask(model)
                assert (reply.status_code, reply.headers["x-smallfirst-model"]) == (200, "busy")
            big.always(answer("Paris."))
            assert ask("auto").headers["x-smallfirst-model"] == "big"
            big.always(error(500))
            assert ask("auto").headers["x-smallfirst-model"] == "busy"
