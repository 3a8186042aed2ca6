"""The gateway under test: a route over a small and a large model, both scripted."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.common.machine import ROOT
from benchmarks.common.processes import Command, Processes, free_port
from benchmarks.overhead.processes import SMALLFIRST, environment
from tests.support.any_answer import answer_anything
from tests.support.upstream import Upstream

KEY = "sk-conformance"
TOKENS = {"input_usd_per_mtok": 0.4, "cached_input_usd_per_mtok": 0.1, "output_usd_per_mtok": 1.6}


def models_yaml(upstream: Upstream, routes: Iterable[str]) -> dict[str, Any]:
    """Return the configuration, with the same ladder for each route."""
    engine = {"engine": "vllm", "structured_backend": "guidance"}
    small = {"tier": "slm", **engine, "base_url": upstream.url("slm"), "price": {"replica_hour_usd": 1.0}}
    large = {"tier": "llm", **engine, "base_url": upstream.url("llm"), "price": TOKENS}
    large["abilities"] = ["completions", "image", "logprobs", "structured", "tools"]
    ladder = {"ladder": ["small", "large"], "policy": "fixed"}
    return {
        "models": {"small": small, "large": large},
        "routes": dict.fromkeys(routes, ladder),
    }


@contextlib.contextmanager
def running_gateway(folder: Path, routes: Iterable[str], *, key: bool) -> Iterator[str]:
    """Yield the root of a gateway, with or without a client key, in front of an upstream that answers everything."""
    folder.mkdir(parents=True)
    with Upstream() as upstream, Processes(folder) as processes:
        for site in ("slm", "llm"):
            upstream.site(site).always(answer_anything)
        config = folder / "models.yaml"
        config.write_text(json.dumps(models_yaml(upstream, routes)), encoding="utf-8")
        port = free_port()
        arguments = [*SMALLFIRST, "serve", f"--config={config}", "--host=127.0.0.1", f"--port={port}"]
        env = environment() | {"SMALLFIRST_STATE_DIR": str(folder)} | ({"SMALLFIRST_API_KEYS": KEY} if key else {})
        processes.start(Command("gateway", arguments, port, env, ROOT), folder / "gateway.log")
        yield f"http://127.0.0.1:{port}"
