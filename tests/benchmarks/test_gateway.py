"""A gateway started for a measurement, and gone after it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from benchmarks.common.cpu import seconds
from benchmarks.common.gateway import Start, gateway_environment, running_gateway, shown
from benchmarks.common.processes import StartFailed, scratch_folder
from benchmarks.common.servers import NoAnswer, get, served_models, serving
from tests.support.upstream import Upstream


def models_yaml(folder: Path, upstream: Upstream) -> Path:
    entry = {"tier": "slm", "engine": "openai", "base_url": upstream.url("slm")}
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump({"models": {"slm": entry}}))
    return file


def assert_gone(pid: int) -> None:
    with pytest.raises(ProcessLookupError):
        seconds(pid)


async def test_it_is_ready_and_then_gone(tmp_path: Path) -> None:
    lines: list[str] = []
    with Upstream() as upstream:
        config = models_yaml(tmp_path, upstream)
        async with running_gateway(Start(config, tmp_path / "log"), lines.append) as started:
            assert await served_models(started.root) == ["slm"]
            assert (started.engines, started.commands, started.restarts) == ((), (), 0)
            assert len(started.pids) == 1
            assert seconds(started.pids[0]) > 0
    assert_gone(started.pids[0])
    with pytest.raises(NoAnswer):
        await get(started.root, "/health")


async def test_it_is_gone_after_an_error_too(tmp_path: Path) -> None:
    with Upstream() as upstream, pytest.raises(ZeroDivisionError):
        async with running_gateway(Start(models_yaml(tmp_path, upstream), tmp_path / "log"), print) as started:
            raise ZeroDivisionError
    assert_gone(started.pids[0])


async def test_a_wrong_config_is_reported(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("modles: {}\n")
    with pytest.raises(StartFailed, match="modles"):
        async with running_gateway(Start(tmp_path / "models.yaml", tmp_path / "log"), print):
            pass


async def test_what_takes_too_long_is_reported(tmp_path: Path) -> None:
    with Upstream() as upstream, pytest.raises(StartFailed, match="not ready after 0 s"):
        async with running_gateway(Start(models_yaml(tmp_path, upstream), tmp_path / "log", limit_s=0), print):
            pass


async def test_who_serves_the_model() -> None:
    with Upstream() as upstream:
        a, b = (upstream.url(name).removesuffix("/v1") for name in ("a", "b"))
        assert await serving([a, b], None) == ("a", (a,))
        assert await serving([a, b], "b") == ("b", (b,))
        with pytest.raises(NoAnswer, match="no vLLM serves c; served: a, b"):
            await serving([a, b], "c")


def test_the_gateway_gets_no_settings_that_change_it() -> None:
    given = {"SMALLFIRST_API_KEYS": "key-key-key", "SMALLFIRST_STATE_DIR": "/s", "HOME": "/h"}
    assert gateway_environment(given) == {"SMALLFIRST_STATE_DIR": "/s", "HOME": "/h"}


def test_a_report_shows_no_folders() -> None:
    assert shown(["/usr/bin/python", "-m", "vllm", "--model", "/state/models/a", "--x", "1"]) == (
        "python -m vllm --model a --x 1"
    )


def test_the_scratch_folder_stays_only_after_an_error() -> None:
    lines: list[str] = []
    with scratch_folder(lines.append) as fine:
        assert fine.is_dir()
    with pytest.raises(ValueError, match="x"), scratch_folder(lines.append) as failed:
        raise ValueError("x")
    with pytest.raises(KeyboardInterrupt), scratch_folder(lines.append) as stopped:
        raise KeyboardInterrupt
    assert [folder.exists() for folder in (fine, failed, stopped)] == [False, True, False]
    assert str(failed) in lines[0]
    os.rmdir(failed)
