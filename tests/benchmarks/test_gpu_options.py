"""The command line of the GPU benchmark, and what it says where it cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.device import Gpu, NoGpu, find
from benchmarks.gpu.device import parse as parse_device
from benchmarks.gpu.options import FULL, QUICK, TINY, parse


def test_defaults() -> None:
    full, quick, tiny = parse([]), parse(["--quick"]), parse(["--tiny", "--device", "cpu"])
    assert FULL.items() <= vars(full).items()
    assert (full.concurrency, full.replicas, full.gpu_hour_usd) == ([1, 8, 32, 128, 256], [1, 2], 2.69)
    assert QUICK.items() <= vars(quick).items()
    assert TINY.items() <= vars(tiny).items()
    assert tiny.concurrency == [1, 4, 16]
    assert parse(["--tiny", "--concurrency", "2"]).concurrency == [2]


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["--device", "cpu"], "--tiny"),
        (["--tiny", "--model", "a/b"], "--model"),
        (["--dummy", "--model", "a/b"], "not allowed"),
        (["--gpu-memory", "1.2"], "from 0 to 1"),
        (["--gpu-memory", "0"], "above 0"),
        (["--gpu-hour-usd", "0"], "above 0"),
        (["--gpu-hour-usd", "nan"], "above 0"),
        (["--vllm-args", "quantization"], "mapping"),
        (["--vllm-args", "{"], "mapping"),
        (["--vllm-args", "{port: 1}"], "smallfirst serve --port"),
        (["--replicas", "0"], "from 1"),
        (["--context", "300"], "too small"),
        (["--fp8", "--vllm-args", "{quantization: awq}"], "no `quantization`"),
        (["--fp8", "--tiny", "--device", "cpu"], "needs a GPU"),
    ],
)
def test_what_is_wrong_is_said(argv: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(argv)
    assert stopped.value.code == 2
    assert word in capsys.readouterr().err


def test_without_a_gpu_it_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.err == (
        "no NVIDIA GPU here (there is no nvidia-smi); to try the whole path without one: --device cpu --tiny\n"
    )
    assert said.out == ""
    assert not (tmp_path / "out").exists()


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    file = folder / "nvidia-smi"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_gpu_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, monkeypatch, 'echo "$1" >&2; echo "NVIDIA H100 80GB HBM3, 81559, 580.82.07, 700.00, 9.0"')
    gpu = find(("0", "3"), 1)
    assert gpu == Gpu("NVIDIA H100 80GB HBM3", 81559 / 1024, "580.82.07", "700.00", "9.0")
    with pytest.raises(NoGpu, match="no GPU 2 here: 2 are visible"):
        find(("0", "3"), 2)


def test_a_gpu_that_is_too_small_ends_it_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = '[ "$1" = --list-gpus ] && echo "GPU 0: A (UUID: GPU-1)" || echo "A, 24576, 580.1, 300.00, 8.9"'
    nvidia_smi(tmp_path, monkeypatch, listing)
    assert main(["--out", str(tmp_path / "out")]) == 2
    assert "--replicas 1" in capsys.readouterr().err


def test_a_driver_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, monkeypatch, "exit 9")
    with pytest.raises(NoGpu, match="does not describe GPU 0"):
        find(("0",), 0)
    with pytest.raises(NoGpu, match="lists no usable GPU"):
        find((), 0)
    with pytest.raises(NoGpu, match="unexpected"):
        parse_device("[N/A], [N/A]")
