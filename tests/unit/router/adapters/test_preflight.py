"""Which adapters are refused before anything starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from router.adapters.folder import WEIGHTS
from router.adapters.preflight import check_adapters
from router.errors import ConfigError
from router.load_config import load
from tests.support.lora import write_adapter


def check(folder: Path, adapters: str, more: str = "") -> None:
    file = folder / "models.yaml"
    file.write_text(
        "models:\n  large: {tier: llm, engine: openai, base_url: http://127.0.0.1:9/v1}\n"
        f"  small: {{tier: slm, engine: vllm, source: owner/model, adapters: {{orders: {adapters}}}, {more}}}\n"
    )
    check_adapters(load(file, {}, gpu=False))


def test_what_is_complete_is_accepted(tmp_path: Path) -> None:
    check(tmp_path, str(write_adapter(tmp_path / "orders", 1)))
    check(tmp_path, str(tmp_path / "orders"), "vllm_args: {max_lora_rank: 8, enable_lora: true, api_server_count: 1}")
    check(tmp_path, "owner/orders-lora")


def test_files_are_not_needed_where_the_model_is_left_out(tmp_path: Path) -> None:
    check(tmp_path, "/absent", "requires: {gpu: true}")


@pytest.mark.parametrize(
    ("adapters", "more", "says"),
    [
        ("'a b'", "", "models.small.adapters.orders: expected a hub id (owner/model), a folder"),
        ("'package:a/b'", "", "models.small.adapters.orders: expected a hub id or a folder, got 'package:a/b'"),
        ("/absent", "", "models.small.adapters.orders: /absent: no such folder"),
        ("FOLDER", "vllm_args: {enable_lora: false}", "models.small.vllm_args.enable_lora: the model has `adapters`"),
        ("FOLDER", "vllm_args: {api_server_count: 2}", "models.small.vllm_args.api_server_count: expected 1"),
        ("FOLDER", "vllm_args: {max_lora_rank: 4}", "its rank is 8, but vllm_args.max_lora_rank is 4"),
    ],
)
def test_each_mistake_names_file_line_and_key(tmp_path: Path, adapters: str, more: str, says: str) -> None:
    folder = write_adapter(tmp_path / "orders", 1)
    with pytest.raises(ConfigError, match=rf"models\.yaml:3: .*{re.escape(says)}"):
        check(tmp_path, adapters.replace("FOLDER", str(folder)), more)


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "orders", 1)
    (folder / WEIGHTS).write_bytes(b"cut")
    with pytest.raises(
        ConfigError, match=rf"models\.small\.adapters\.orders: {folder}: {WEIGHTS} is not a safetensors"
    ):
        check(tmp_path, str(folder))
