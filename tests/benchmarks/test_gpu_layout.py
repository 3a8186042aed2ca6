"""The models.yaml that the GPU benchmark writes is one that the product takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.layout import (
    DoesNotFit,
    ServedModel,
    Variant,
    check_fits,
    kv_cache_gib,
    memory_share,
    models_yaml,
    prepare,
    variants,
)
from benchmarks.gpu.options import parse
from router.config.models import Model
from router.engine.command import check_vllm_args
from router.engine.gpu import check_gpus, replica_gpus
from router.engine.source import LocalPath
from router.engine.source import parse as parse_source
from router.load_config import load

H100_GIB = 79.6


def model_of(
    argv: list[str],
    replicas: int,
    folder: Path,
    gpu_gib: float | None = H100_GIB,
    quantization: str | None = None,
) -> Model:
    """What the product reads from the file that is written for these options."""
    options = parse(argv)
    file = folder / "models.yaml"
    file.write_text(models_yaml(prepare(options, folder), options, Variant(replicas, quantization), gpu_gib))
    model = load(file, {}, gpu=gpu_gib is not None).models["slm"]
    check_vllm_args(model)
    check_gpus([model], 0 if gpu_gib is None else 1)
    return model


def test_one_replica_lets_vllm_find_its_cache(tmp_path: Path) -> None:
    model = model_of([], 1, tmp_path)
    assert model.vllm_args == {"load_format": "dummy", "gpu_memory_utilization": 0.9}
    assert (model.replicas, model.gpus, model.context) == (1, (0,), 4096)
    assert model.price
    assert model.price.replica_hour_usd == 2.69
    source = parse_source(model)
    assert isinstance(source, LocalPath)
    written = {file.name for file in source.path.iterdir()}
    assert written == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert json.loads((source.path / "config.json").read_text())["num_hidden_layers"] == 36


def test_fp8_is_measured_last_on_one_replica(tmp_path: Path) -> None:
    assert [str(one) for one in variants(parse([]))] == ["1 replica", "2 replicas"]
    measured = list(variants(parse(["--fp8"])))
    assert [str(one) for one in measured] == ["1 replica", "2 replicas", "1 replica in fp8"]
    assert len({one.file_name for one in measured}) == 3
    model = model_of(["--fp8"], 1, tmp_path, quantization="fp8")
    assert model.vllm_args == {"load_format": "dummy", "quantization": "fp8", "gpu_memory_utilization": 0.9}


def test_two_replicas_share_the_gpu(tmp_path: Path) -> None:
    model = model_of([], 2, tmp_path)
    assert [replica_gpus(model, index, 1) for index in (0, 1)] == [(0,), (0,)]
    assert model.vllm_args["gpu_memory_utilization"] == 0.45
    cache = model.vllm_args["kv_cache_memory_bytes"] / 2**30
    assert cache == pytest.approx(0.45 * H100_GIB - 15.26 - 5, abs=0.01)
    assert model.price
    assert model.price.replica_hour_usd == 1.345


def test_three_replicas_do_not_exceed_the_whole(tmp_path: Path) -> None:
    assert memory_share(parse(["--gpu-memory", "1"]), 3) == 0.333
    assert model_of(["--gpu-memory", "1"], 3, tmp_path).replicas == 3


def test_vllm_args_of_the_user_win(tmp_path: Path) -> None:
    argv = ["--vllm-args", "{quantization: fp8, gpu_memory_utilization: 0.4, kv_cache_memory_bytes: 1000}"]
    args: dict[str, Any] = model_of(argv, 2, tmp_path).vllm_args
    assert (args["quantization"], args["gpu_memory_utilization"], args["kv_cache_memory_bytes"]) == ("fp8", 0.4, 1000)


def test_real_weights_are_loaded(tmp_path: Path) -> None:
    model = model_of(["--model", "Qwen/Qwen3-8B"], 1, tmp_path)
    assert model.source == "Qwen/Qwen3-8B"
    assert "load_format" not in model.vllm_args
    (tmp_path / "weights").mkdir()
    assert model_of(["--model", str(tmp_path / "weights")], 1, tmp_path).source == str(tmp_path / "weights")


def test_on_the_cpu_there_is_no_word_of_gpus(tmp_path: Path) -> None:
    model = model_of(["--device", "cpu", "--tiny"], 2, tmp_path, gpu_gib=None)
    assert (model.gpus, model.vllm_args, model.replicas) == ((), {"load_format": "dummy"}, 2)


def test_a_gpu_that_is_too_small_is_told_beforehand() -> None:
    with pytest.raises(DoesNotFit, match="--replicas 1"):
        check_fits(parse([]), 24.0)
    check_fits(parse(["--replicas", "1"]), 24.0)
    check_fits(parse(["--kv-cache-gib", "2"]), 24.0)
    check_fits(parse(["--tiny"]), 24.0)


def test_the_cache_of_real_weights_is_for_vllm_or_the_user_to_say() -> None:
    assert kv_cache_gib(None, 30.0, None) is None
    assert kv_cache_gib(None, 30.0, 7.0) == 7.0
    assert not ServedModel("owner/model", None).dummy
