"""Which GPUs a replica gets, and whether what is asked of one fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from router.config.models import Model
from router.config.swap import SwapGroup
from router.engine import gpu
from router.errors import ConfigError


def model(name: str = "m", **fields: Any) -> Model:
    return Model(name=name, tier="slm", engine="vllm", source="owner/model", **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [(0,)]),
        ({"replicas": 3}, [(0,), (1,), (2,)]),  # on all that there are
        ({"replicas": 5}, [(0,), (1,), (2,), (3,), (0,)]),
        ({"replicas": 2, "vllm_args": {"tensor_parallel_size": 2}}, [(0, 1), (2, 3)]),
        ({"vllm_args": {"prefill_context_parallel_size": 2}}, [(0, 1)]),
        ({"gpus": (1, 3), "replicas": 2}, [(1,), (3,)]),
        ({"gpus": (1, 3), "replicas": 3}, [(1,), (3,), (1,)]),
        ({"gpus": (0, 1, 2, 3), "replicas": 2, "vllm_args": {"tensor_parallel_size": 2}}, [(0, 1), (2, 3)]),
        (
            {"gpus": (0, 1, 2, 3), "vllm_args": {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}},
            [(0, 1, 2, 3)],
        ),
        ({"vllm_args": {"tensor_parallel_size": 2}}, [(0, 1)]),
        ({"vllm_args": {"tensor_parallel_size": 2, "data_parallel_size": 2}}, [(0, 1, 2, 3)]),
    ],
)
def test_a_replica_gets_its_slice_of_the_gpus(fields: dict[str, Any], expected: list[tuple[int, ...]]) -> None:
    subject = model(**fields)
    assert [gpu.replica_gpus(subject, index, 4) for index in range(subject.replicas)] == expected


def test_shares_that_fill_a_gpu_are_accepted() -> None:
    shares = [0.7, 0.2, 0.1]
    models = [model(f"m{share}", vllm_args={"gpu_memory_utilization": share}) for share in shares]
    gpu.check_gpus(models, 1)


def test_one_model_alone_on_each_gpu_is_accepted() -> None:
    gpu.check_gpus([model("a", gpus=(0,)), model("b", gpus=(1,))], 2)


def test_too_much_on_one_gpu_is_refused_with_gpu_models_and_shares() -> None:
    models = [
        model("a", gpus=(0, 1), replicas=2, vllm_args={"gpu_memory_utilization": 0.5}),
        model("b", gpus=(1,), vllm_args={"gpu_memory_utilization": 0.6}),
    ]
    with pytest.raises(ConfigError, match=r"GPU 1: .* 1\.10, more than 1: 0\.5 \(a/1\) \+ 0\.6 \(b/0\)"):
        gpu.check_gpus(models, 2)


def test_of_a_swap_group_the_largest_that_are_loaded_together_count() -> None:
    shares = {"a": 0.5, "b": 0.4, "c": 0.3}
    models = [model(name, vllm_args={"gpu_memory_utilization": share}) for name, share in shares.items()]
    groups = [SwapGroup(models=("a", "b", "c"), keep=2)]
    gpu.check_gpus(models, 1, groups)
    other = model("d", vllm_args={"gpu_memory_utilization": 0.2})
    with pytest.raises(
        ConfigError, match=r"GPU 0: .* 1\.10, more than 1: 0\.5 \(a/0\) \+ 0\.4 \(b/0\) \+ 0\.2 \(d/0\)"
    ):
        gpu.check_gpus([*models, other], 1, groups)


def test_two_replicas_without_shares_do_not_fit_one_gpu() -> None:
    with pytest.raises(ConfigError, match=r"0\.92 \(m/0\) \+ 0\.92 \(m/1\)"):
        gpu.check_gpus([model(replicas=2)], 1)
    gpu.check_gpus([model(replicas=2)], 2)


@pytest.mark.parametrize(
    ("fields", "count", "message"),
    [
        ({"gpus": (0,)}, 0, "m.gpus: this machine has no NVIDIA GPU"),
        ({"gpus": (2,)}, 2, "m.gpus: there is no GPU 2: this machine has 2"),
        ({"gpus": (0,), "vllm_args": {"tensor_parallel_size": 2}}, 2, r"needs 2 GPUs .*, got \[0\]"),
        ({"vllm_args": {"gpu_memory_utilization": "half"}}, 1, "expected a number above 0, at most 1, got 'half'"),
        ({"vllm_args": {"tensor_parallel_size": True}}, 1, "expected a whole number from 1, got True"),
        ({"vllm_args": {"tensor_parallel_size": 10**9}}, 2, "needs 1000000000 GPUs .*, this machine has 2"),
        ({"vllm_args": {"tensor_parallel_size": 2, "data_parallel_size": 2}}, 2, "needs 4 GPUs .*, this machine has 2"),
    ],
)
def test_gpus_that_are_not_there_are_refused(fields: dict[str, Any], count: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gpu.check_gpus([model(**fields)], count)


def test_without_a_gpu_there_are_no_shares_to_check() -> None:
    gpu.check_gpus([model(replicas=4)], 0)


NOT_A_SIZE = [0, -1, 1.5, 1e9, float("inf"), float("nan"), "2", None, [1]]
NOT_A_SHARE = [0, -0.1, 1.01, float("inf"), float("nan"), "0.5", True, None]


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in gpu.PARALLEL_SIZE_ARGS for value in NOT_A_SIZE]
    + [("gpu_memory_utilization", value) for value in NOT_A_SHARE],
)
def test_sizes_and_shares_that_are_none_are_refused_on_any_machine(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"models\.m\.vllm_args\.{key}: expected a .*, got "):
        gpu.check_gpu_args(model(vllm_args={key: value}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gpus": (0, 0), "replicas": 2}, r"a GPU is listed twice in \[0, 0\]"),
        ({"gpus": (0, 1)}, r"no replica would use \[1\]"),
        (
            {"gpus": (0, 1, 2), "vllm_args": {"tensor_parallel_size": 2}},
            r"no replica would use \[2\]: replicas x GPUs per replica is 2",
        ),
        ({"gpus": (0, 1), "vllm_args": {"data_parallel_size": 4}}, r"needs 4 GPUs .*, got \[0, 1\]"),
    ],
)
def test_gpus_that_do_not_go_round_are_refused_on_any_machine(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        gpu.check_gpu_args(model(**fields))


@pytest.fixture
def _two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi = tmp_path / "nvidia-smi"
    nvidia_smi.write_text(
        "#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: GPU-1)'\necho 'GPU 1: NVIDIA H100 (UUID: GPU-2)'\n"
    )
    nvidia_smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("_two_gpus")
@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (None, ("0", "1")),
        ("", ()),
        ("-1", ()),
        ("1", ("1",)),
        ("1, 0", ("1", "0")),
        ("0,-1,1", ("0",)),
        ("0,2,1", ("0",)),
        ("GPU-2", ("GPU-2",)),
        ("MIG-1/2/0,GPU-1", ("MIG-1/2/0", "GPU-1")),
        ("none", ()),
    ],
)
def test_the_environment_says_which_gpus_are_seen(listed: str | None, expected: tuple[str, ...]) -> None:
    assert gpu.visible_gpus({} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}) == expected


@pytest.mark.usefixtures("_two_gpus")
def test_there_is_a_gpu_where_one_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu.gpu_present()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not gpu.gpu_present()


def test_without_a_driver_no_gpu_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu.visible_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == ()
