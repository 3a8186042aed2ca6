"""From rounds to figures, money and text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import machine
from benchmarks.common.report import Renderer, write
from benchmarks.gpu import figures, plot, report
from benchmarks.gpu.__main__ import facts
from benchmarks.gpu.architecture import QWEN3_8B
from benchmarks.gpu.device import Gpu
from benchmarks.gpu.engine_metrics import EngineMetrics, parse
from benchmarks.gpu.layout import ServedModel, Variant
from benchmarks.gpu.money import usd_per_mtok
from benchmarks.gpu.options import parse as parse_options
from benchmarks.gpu.sweep import Layout, line_through, workload
from benchmarks.vllm.samples import ABBA, Round, Sample, Workload

METRICS = """\
# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
vllm:cache_config_info{block_size="16",cache_dtype="auto",num_gpu_blocks="6912"} 1.0
vllm:generation_tokens_total{engine="0",model_name="slm"} 1234.0
vllm:num_preemptions_total{engine="0",model_name="slm"} 2.0
vllm:prefix_cache_queries_total{engine="0",model_name="slm"} 50.0
vllm:prefix_cache_hits_total{engine="0",model_name="slm"} 16.0
vllm:prefix_cache_hits_created{engine="0",model_name="slm"} 1.7e+09
"""


def round_of(concurrency: int, direct_s: float, gateway_s: float) -> Round:
    seconds = {"direct": direct_s, "gateway": gateway_s}
    samples = [
        Sample(target, seconds[target], 10, 1280, 1270, 256, 0.01 if target == "gateway" else None, 0.4, 0.0,
            tuple(float(i) for i in range(10, 20)), (5.0,) * 10)
        for target in ABBA
    ]  # fmt: skip
    return Round(Workload(concurrency, 10, 128, True), tuple(samples))


def layout(replicas: int, gateway_s: float) -> Layout:
    rounds = [round_of(concurrency, 1.0, gateway_s) for _ in range(3) for concurrency in (1, 8)]
    engines = (EngineMetrics(110592, parse(METRICS).counters),) * replicas
    text = "models:\n  slm: {source: /tmp/x/model}\n"
    return Layout(Variant(replicas), text, ("python -m vllm",) * replicas, 80.0, 0, engines, 70000, tuple(rounds))


def example() -> dict[str, Any]:
    options = parse_options(["--vllm-args", "{max_num_seqs: 512}"])
    gpu = Gpu("NVIDIA H100 80GB HBM3", 79.6, "580.82.07", "700.00", "9.0")
    found = [figures.of_layout(one, "/tmp/x/model", 2.69) for one in (layout(1, 1.0), layout(2, 0.8))]
    about = machine.describe_for_vllm() | facts(ServedModel("/tmp/x/model", dict(QWEN3_8B)), options, gpu)
    return about | {"layouts": found, "comparison": figures.compare(found)}


def test_money() -> None:
    assert usd_per_mtok(3.6, 1000) == 1.0
    assert usd_per_mtok(3.6, 1000, 0.05) == pytest.approx(20)
    # 32 requests/s of 128 tokens on an H100: the design's $0.023 for 1,000 requests
    assert usd_per_mtok(2.69, 32 * 128) * 0.128 == pytest.approx(0.0234, abs=1e-4)


@pytest.mark.parametrize(("speed", "share"), [(0.0, 1.0), (10.0, 0.0), (10.0, 1.5)])
def test_money_of_nothing(speed: float, share: float) -> None:
    with pytest.raises(ValueError, match="no price"):
        usd_per_mtok(1.0, speed, share)


def test_what_an_engine_says() -> None:
    engine = parse(METRICS)
    assert engine.kv_cache_tokens == 110592
    assert engine.counters == {
        "generated_tokens": 1234.0,
        "preemptions": 2.0,
        "prefix_cache_queries": 50.0,
        "prefix_cache_hits": 16.0,
    }
    assert parse("") == EngineMetrics(None, dict.fromkeys(engine.counters, 0))


def test_figures_of_one_load() -> None:
    (load, _) = figures.of_layout(layout(1, 1.25), "owner/model", 3.6)["loads"]
    assert load["direct"]["tokens_per_s"] == 1280.0
    assert load["gateway"]["tokens_per_s"] == 1024.0
    assert load["ratio"]["value"] == pytest.approx(0.8)
    assert (load["direct"]["first_ms_p50"], load["direct"]["streams"]) == (14.5, 60)
    assert load["direct"]["first_ms_p99"] == pytest.approx(19.0)
    assert load["gateway"]["gap_ms_p50"] == 5.0
    assert load["gateway_cpu"]["us_per_request"] == pytest.approx(1000.0)
    assert load["gateway_cpu"]["us_per_event"] == pytest.approx(0.06e6 / 7620)
    assert load["gateway_cpu"]["share_of_a_core"] == pytest.approx(0.008)
    assert load["usd_per_mtok"]["1.0"] == pytest.approx(1000 / 1024)


def test_more_replicas_against_the_first_layout() -> None:
    rows = example()["comparison"]
    assert [(row["concurrency"], row["layout"], row["ratio"]) for row in rows] == [
        (1, "2 replicas", 1.25),
        (8, "2 replicas", 1.25),
    ]
    assert figures.compare([figures.of_layout(layout(1, 1.0), "a/b", 1.0)]) == []


def test_the_text_begins_with_what_the_weights_are() -> None:
    text = report.markdown(example(), picture=True)
    assert "random numbers: throughput only" in "\n".join(text.splitlines()[:4])
    assert "8.19B parameters" in text
    assert "source: model" in text, "no folder of this machine"
    assert "## 2 replicas" in text
    assert "KV cache: 110592, 110592 tokens" in text
    assert "| 8 | 2 replicas | 1 replica | 1.250 |" in text
    assert "$2.69" in text
    assert "no H100" not in text


def test_real_weights_are_not_called_random() -> None:
    options = parse_options(["--model", "Qwen/Qwen3-8B"])
    real = example() | facts(ServedModel("Qwen/Qwen3-8B", None), options, None)
    text = report.markdown(real, picture=False)
    assert "random" not in text
    assert "Device: the CPU" in text
    assert "no H100" in text


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write(example(), tmp_path, Renderer(report.markdown, plot.draw), lambda _: None)
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_prompt_is_made_as_long_as_wanted() -> None:
    assert line_through((32, 96), (72, 136), 256) == 216, "a token a word, 40 beside them"
    assert line_through((32, 96), (104, 296), 256) == 83, "three tokens a word"
    assert line_through((32, 96), (72, 136), 8) == 1
    assert line_through((32, 96), (50, 50), 256) == 32, "whoever counts nothing"


def test_a_leg_has_enough_requests() -> None:
    options = parse_options(["--requests", "4", "--fewest", "16"])
    assert [workload(concurrency, options).requests for concurrency in (1, 8)] == [16, 32]
    assert workload(1, options).stream
