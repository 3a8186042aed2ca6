"""`smallfirst add`: what it writes, where in the ladder, and what it refuses."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from server.cli import main

ROOT = Path(__file__).parents[4]
LARGE = "{tier: llm, engine: openai, base_url: http://127.0.0.1:9/v1}"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "models.yaml", tmp_path))


def add(config: Path, *arguments: str) -> int:
    return main(["add", *arguments, "--config", str(config)])


def test_a_model_is_added_and_the_rest_stays(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = config.read_text()
    assert add(config, "phi-4-mini") == 0
    assert capsys.readouterr().out == (
        f"{config}: added phi-4-mini, microsoft/Phi-4-mini-instruct, 3.8B parameters, commercial use: yes\n"
    )
    new = (
        "  phi-4-mini:\n"
        "    source: catalogue:phi-4-mini   # microsoft/Phi-4-mini-instruct, 3.8B parameters, commercial use: yes\n"
        "    # price: {replica_hour_usd: 0.60}   # what an hour of its GPU costs you\n\n"
    )
    assert config.read_text() == before.replace("routes:", f"{new}routes:")
    assert main(["check", "--config", str(config)]) == 0


def test_a_route_takes_it_where_its_size_belongs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(config, "qwen3.5-2b", "--route", "auto") == 0
    assert "routes.auto.ladder is now ['smollm2-135m', 'qwen3.5-2b', 'qwen3-4b', 'gpt-4.1-mini']" in (
        capsys.readouterr().out
    )
    assert add(config, "qwen3.5-9b", "--route", "auto", "--as", "larger") == 0
    ladder = yaml.safe_load(config.read_text())["routes"]["auto"]["ladder"]
    assert ladder == ["smollm2-135m", "qwen3.5-2b", "qwen3-4b", "larger", "gpt-4.1-mini"]
    assert "[smollm2-135m, qwen3.5-2b, qwen3-4b, larger, gpt-4.1-mini]   # cheapest first" in config.read_text()


@pytest.mark.parametrize(
    ("ladder", "expected"),
    [
        ("[large]", ["new", "large"]),
        ("[unknown]", ["unknown", "new"]),
        ("[[unknown, nine], large]", ["new", ["unknown", "nine"], "large"]),
        ("\n      - unknown\n      - nine", ["unknown", "new", "nine"]),
    ],
)
def test_the_place_in_a_ladder(ladder: str, expected: list[object], tmp_path: Path) -> None:
    config = tmp_path / "models.yaml"
    config.write_text(
        f"models:\n  large: {LARGE}\n  unknown: {{tier: slm, engine: vllm, source: org/unknown}}\n"
        f"  nine: {{source: catalogue:qwen3.5-9b}}\nroutes:\n  auto:\n    ladder: {ladder}\n"
    )
    assert add(config, "phi-4-mini", "--as", "new", "--route", "auto") == 0
    assert yaml.safe_load(config.read_text())["routes"]["auto"]["ladder"] == expected


def test_what_is_not_for_commercial_use_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(config, "xlam-2-1b", "--as", "tools") == 0
    assert capsys.readouterr().err == (
        "tools: Salesforce/xLAM-2-1b-fc-r is not for commercial use: research only (CC-BY-NC-4.0)\n"
    )


def test_models_that_share_a_gpu_need_their_shares(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("server.commands.base.gpu_present", lambda: True)
    monkeypatch.setattr("router.engine.preflight.visible_gpus", lambda _: ("0",))
    assert add(config, "qwen3.5-2b", "--gpu-memory-utilization", "0.4") == 2
    error = capsys.readouterr().err
    assert (
        "GPU 0: the shares of its memory add up to 1.32, more than 1: 0.92 (qwen3-4b/0) + 0.4 (qwen3.5-2b/0)." in error
    )
    assert error.endswith(f"Nothing was written: with the new model, {config} would not be valid.\n")
    config.write_text(config.read_text().replace("hermes}\n    price: {replica_hour_usd: 0.60}",
                                                 "hermes, gpu_memory_utilization: 0.5}"))  # fmt: skip
    assert add(config, "qwen3.5-2b", "--gpu-memory-utilization", "0.4", "--route", "auto") == 0
    assert "    vllm_args: {gpu_memory_utilization: 0.4}\n" in config.read_text()
    assert add(config, "phi-4-mini", "--gpu-memory-utilization", "nan") == 2
    assert "gpu_memory_utilization: expected a number above 0, at most 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["phi-4-mni"], "no entry 'phi-4-mni' in the catalogue; did you mean 'phi-4-mini'"),
        (["phi-4-mini", "--as", "qwen3-4b"], ":13: models.qwen3-4b: the name is taken; choose another one with --as"),
        (["phi-4-mini", "--as", "auto"], "routes.auto: a model has the same name"),
        (["phi-4-mini", "--as", "a b"], "models.a b: expected a name"),
        (["phi-4-mini", "--route", "other"], "--route: expected a route of "),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_written(
    arguments: list[str], message: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = config.read_text()
    assert add(config, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert ".tmp" not in error
    assert config.read_text() == before
    assert os.listdir(config.parent) == ["models.yaml"]


def test_a_file_that_cannot_be_edited_gets_the_entry_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "models.yaml"
    config.write_text(f"models: {{large: {LARGE}}}\n")
    assert add(config, "phi-4-mini") == 2
    error = capsys.readouterr().err
    assert (
        "`models` is not a mapping with each key on its own line; add this to its `models` yourself:\nphi-4-mini:\n"
        in error
    )
    assert "  source: catalogue:phi-4-mini" in error


def test_an_alias_that_the_edit_would_change_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list that stands in the file once and is used twice."""
    config = tmp_path / "models.yaml"
    config.write_text(
        f"models:\n  large: {LARGE}\nroutes:\n  auto: {{ladder: &ladder [large]}}\n  other: {{ladder: *ladder}}\n"
    )
    before = config.read_text()
    assert add(config, "phi-4-mini", "--route", "auto") == 2
    error = capsys.readouterr().err
    assert "adding lines would change other parts of it" in error
    assert "to its `models` yourself, and phi-4-mini to routes.auto.ladder:" in error
    assert config.read_text() == before


def test_a_file_that_is_wrong_already_is_reported_as_it_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace("tier: llm", "tier: large"))
    assert add(config, "phi-4-mini") == 2
    error = capsys.readouterr().err
    assert "models.gpt-4.1-mini.tier: expected" in error
    assert "Nothing was written" not in error


def test_a_link_and_the_mode_stay(config: Path, tmp_path: Path) -> None:
    config.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(config)
    assert add(link, "phi-4-mini") == 0
    assert link.is_symlink()
    assert "phi-4-mini" in config.read_text()
    assert config.stat().st_mode & 0o777 == 0o640


def test_a_folder_without_room_is_told(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("server.commands.add.tempfile.mkstemp", refuse)
    assert add(config, "phi-4-mini") == 2
    assert capsys.readouterr().err == f"smallfirst: {config}: cannot be written: Permission denied\n"


def test_a_models_own_code_needs_the_users_word(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = config.read_text()
    assert add(config, "hymba-1.5b") == 2
    err = capsys.readouterr().err
    assert "https://huggingface.co/nvidia/Hymba-1.5B-Instruct" in err
    assert "write --trust-remote-code" in err
    assert config.read_text() == before
    assert add(config, "phi-4-mini", "--trust-remote-code") == 2
    assert "phi-4-mini has no code of its own" in capsys.readouterr().err
    assert add(config, "hymba-1.5b", "--trust-remote-code", "--gpu-memory-utilization", "0.3") == 0
    args = yaml.safe_load(config.read_text())["models"]["hymba-1.5b"]["transformers_args"]
    assert args == {"gpu_memory_utilization": 0.3, "trust_remote_code": True}
    assert main(["check", "--config", str(config)]) == 0


def test_a_read_only_file_stays_as_it_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also for root, and in a folder in which a new file could replace it."""
    before = config.read_text()
    config.chmod(0o444)
    assert add(config, "phi-4-mini") == 2
    assert f"{config}: cannot be written: the file is read-only" in capsys.readouterr().err
    assert config.read_text() == before
    assert os.listdir(config.parent) == ["models.yaml"]
