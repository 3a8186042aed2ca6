"""What vLLM is told on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.catalogue.bundled import catalogue
from router.engine.cpu import ARGS_BY_ARCHITECTURE, CPU_ARGS, architectures_of, cpu_args


def test_an_unknown_architecture_gets_what_all_get() -> None:
    assert cpu_args(()) == cpu_args(("LlamaForCausalLM",)) == CPU_ARGS


def test_some_architectures_need_more() -> None:
    assert cpu_args(("NemotronHForCausalLM",)) == {**CPU_ARGS, "enable_prefix_caching": False}
    assert cpu_args(("Qwen3_5ForConditionalGeneration",)) == {
        **CPU_ARGS,
        "dtype": "bfloat16",
        "enable_prefix_caching": False,
    }


def test_the_catalogue_s_hybrids_are_known() -> None:
    hybrids = {entry.architecture for entry in catalogue().values() if entry.state}
    assert hybrids - {"HymbaForCausalLM"} <= ARGS_BY_ARCHITECTURE.keys()


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (json.dumps({"architectures": ["A", "B"]}), ("A", "B")),
        (json.dumps({"architectures": ["A", 1]}), ("A",)),
        (json.dumps({"architectures": "A"}), ()),
        (json.dumps({}), ()),
        ("[]", ()),
        ("no json", ()),
        (None, ()),
    ],
)
def test_architectures_are_read_from_the_folder(tmp_path: Path, config: str | None, found: tuple[str, ...]) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    assert architectures_of(tmp_path) == found
