"""The whole benchmark, on a real gateway in front of a scripted vLLM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.vllm.__main__ import main
from tests.support.behaviours import Call, answer, error
from tests.support.gateway import Gateway
from tests.support.stream_events import usage_of
from tests.support.upstream import Upstream


async def as_long_as_asked(call: Call) -> None:
    tokens = call.json["max_tokens"]
    await answer(pieces=["word "] * tokens, usage=usage_of(20, tokens))(call)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        server.site("slm").always(as_long_as_asked)
        yield server


@pytest.fixture
def gateway(upstream: Upstream, tmp_path: Path) -> Iterator[Gateway]:
    entry = {"tier": "slm", "engine": "vllm", "base_url": upstream.url("slm")}
    with Gateway({"models": {"slm": entry}}, tmp_path / "gateway") as running:
        running.wait_for_ready(60)
        yield running


def arguments(gateway: Gateway, upstream: Upstream, out: Path) -> list[str]:
    load = ["--rounds=2", "--requests=2", "--max-tokens=4", "--pairs=4", "--concurrency=1,3"]
    return [f"--url={gateway.url}/v1", f"--direct={upstream.url('slm')}", *load, f"--out={out}"]


def test_it_measures_and_reports(
    gateway: Gateway, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(gateway, upstream, tmp_path)) == 0
    found = json.loads((tmp_path / "report.json").read_text())
    assert [(entry["work"]["concurrency"], entry["work"]["stream"]) for entry in found["throughput"]] == [
        (1, False),
        (1, True),
        (3, False),
        (3, True),
    ]
    assert all(len(entry["rounds"]) == 2 for entry in found["throughput"])
    assert all(sample["tokens"] == 8 for sample in found["throughput"][0]["rounds"][0])
    assert found["throughput"][1]["rounds"][0][1]["events"] == 8
    assert len(found["first_token"]["pairs"]) == 4
    assert found["model"] == "slm"
    assert "round 2 of 2, 3 at a time, streamed" in capsys.readouterr().out

    assert main(["--redraw", f"--out={tmp_path}"]) == 0


def test_an_error_is_no_figure(
    gateway: Gateway, upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.site("slm").always(error(400, "no"))
    assert main(arguments(gateway, upstream, tmp_path / "out")) == 1
    assert "nothing is reported: direct, 1 at a time, whole: 1 of 1 answers" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_not_there(upstream: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = upstream.refusing_url
    assert main([f"--url={nobody}", f"--direct={nobody}", f"--out={tmp_path / 'out'}"]) == 1
    assert "does not answer" in capsys.readouterr().out
