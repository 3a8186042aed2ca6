from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.midstream import __main__ as midstream
from benchmarks.midstream.engine_metrics import CACHE_HITS, GENERATED, part, sums
from benchmarks.midstream.report import faults, markdown
from benchmarks.midstream.streams import Stream

USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def row(**fields: Any) -> dict[str, Any]:
    whole = {"format": "text", "text": "a b c", "pieces": 3, "longest_silence_s": 0.1, "finish_reasons": ["stop"]}
    return whole | {"usages": [USAGE], "frames": 1, "continued_by": ["slm/1"], "error": "", "done": True} | fields


def report(*rows: dict[str, Any], **gateway: float) -> dict[str, Any]:
    return {
        "undisturbed": [row() for _ in rows],
        "rounds": [{"kill_after": 2, "under_way": len(rows), "streams": list(rows)}],
        "gateway": gateway,
        "shown": [],
    }


def test_a_good_run_has_no_faults() -> None:
    a_token_again = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    assert list(faults(report(row(), row(usages=[a_token_again])))) == []


def test_what_is_not_as_it_must_be_is_named() -> None:
    sums = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 7}
    wrong = report(
        row(error="cut", done=False, finish_reasons=[]),
        row(text="a b b c"),
        row(frames=2),
        row(usages=[sums]),
        smallfirst_requests_in_flight=1,
    )
    named = list(faults(wrong))
    assert named[0] == "round 1, stream 1 (text): not whole: cut"
    assert named[-1] == "smallfirst_requests_in_flight is 1 at the end"
    for stream, word in ((2, "equal"), (3, "one"), (4, "usage")):
        assert [fault for fault in named if f"stream {stream} " in fault and f"not {word}" in fault]
    assert list(faults(report(row(continued_by=[])))) == ["no stream had to go on elsewhere"]


@pytest.mark.parametrize(
    ("name", "metric", "good", "bad"),
    [
        ("cancellation: x", GENERATED, [[8, 9, 9], [0, 0, 0]], [[8, 9, 12], [0, 0, 0]]),
        ("affinity: x", CACHE_HITS, [[0, 128, 384], [0, 0, 0]], [[0, 128, 128], [0, 0, 256]]),
        ("endless output: x", GENERATED, [[0, 2000, 2600], [0, 0, 700]], [[0, 2000, 3000], [0, 0, 1000]]),
    ],
)
def test_what_the_metrics_do_not_show_is_named(
    name: str, metric: str, good: list[list[int]], bad: list[list[int]]
) -> None:
    def named(values: list[list[int]]) -> list[str]:
        return list(faults(report(row()) | {"shown": [{"part": name, "metrics": {metric: values}}]}))

    assert (len(named(good)), len(named(bad))) == (0, 1)


def test_a_stream_as_its_client_reads_it() -> None:
    stream = Stream({})
    chunk = {"id": "x", "created": 1, "model": "slm", "choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}
    for line in (b"data: " + json.dumps(chunk).encode(), b': smallfirst {"continued_by": ["slm/1"]}', b"data: [DONE]"):
        stream.read(line)
    told = stream.row()
    assert (told["text"], told["pieces"], told["finish_reasons"], told["done"]) == ("a", 1, ["stop"], True)
    assert told["continued_by"] == ["slm/1"]
    failed = Stream({})
    failed.read(b'data: {"error": {"message": "cut"}}')
    assert failed.row()["error"] == "cut"


def test_metrics_are_summed_over_their_labels() -> None:
    page = """# HELP vllm:request_success_total requests
vllm:request_success_total{engine="0",finished_reason="stop"} 2.0
vllm:request_success_total{engine="0",finished_reason="abort"} 1.0
vllm:e2e_request_latency_seconds_sum{engine="0"} 5.0
process_start_time_seconds 7.0
python_gc_total 9.0
"""
    name = "vllm:request_success_total"
    summed = {name: 3.0, f"{name}:stop": 2.0, f"{name}:abort": 1.0, "process_start_time_seconds": 7.0}
    assert sums(page, "vllm:", "process_") == summed


def test_a_part_has_the_values_of_each_replica_at_the_moments() -> None:
    moments = {"before": [{"a": 1.0}, {"a": 2.0}], "after": [{}, {"a": 4.0}]}
    assert part("x", ("a",), moments)["metrics"] == {"a": [[1.0, None], [2.0, 4.0]]}


def test_a_short_run_with_stand_ins(tmp_path: Path) -> None:
    options = ("--stand-in", "--streams=4", "--max-tokens=40", "--kill-after", "2", f"--out={tmp_path}")
    assert midstream.main(options) == 0
    written = json.loads((tmp_path / "report.json").read_text())
    assert sum(bool(one["continued_by"]) for one in written["rounds"][0]["streams"]) == 2
    page = markdown(written, picture=False)
    assert "| text: equal to the undisturbed one | 2 |" in page
    shown = written["rounds"][0]["shown"]["metrics"]
    killed, other = sorted(shown["vllm:num_requests_running"], key=lambda values: values[1] is not None)
    assert (killed, other[-1]) == ([2, None, 0], 0), "at the kill, while it is down, when it answers again"
    [began, _, ended] = max(shown["vllm:request_success_total"], key=lambda values: values[-1])
    assert ended - began == 4, "its own two streams, and those that went on"
    assert "| 2 → down → 0 |" in page
    assert midstream.main([*options, "--redraw"]) == 0
