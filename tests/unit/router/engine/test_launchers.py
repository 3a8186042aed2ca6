"""Which engines can be started, and what each of them needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from router.config.models import Config
from router.engine import launchers, preflight
from router.engine.launchers import LAUNCHERS
from router.engine.preflight import check_managed
from router.errors import ConfigError
from router.load_config import load
from router.upstream.dialects import DIALECTS


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "visible_gpus", lambda _: ())


@pytest.fixture
def configured(tmp_path: Path) -> Any:
    def made(fields: str) -> Config:
        file = tmp_path / "models.yaml"
        file.write_text(f"models:\n  tiny: {{tier: slm, engine: transformers, source: owner/model, {fields}}}\n")
        return load(file, {}, gpu=False)

    return made


def test_every_engine_that_can_be_started_has_a_launcher() -> None:
    assert {name for name, dialect in DIALECTS.items() if dialect.can_be_started} == set(LAUNCHERS)


def test_the_packages_beside_the_gateway_will_do(configured: Any) -> None:
    check_managed(configured("context: 2048"))


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_a_missing_package_is_named(configured: Any, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    found = lambda name: None if name == missing else object()  # noqa: E731
    monkeypatch.setattr(launchers.importlib.util, "find_spec", found)
    with pytest.raises(ConfigError, match=rf"models\.tiny\.source: {missing} is not installed: .*python"):
        check_managed(configured("context: 2048"))


def test_another_interpreter_must_be_there(configured: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.tiny\.transformers_args\.python: expected the path .* 'nowhere'"):
        check_managed(configured("transformers_args: {python: nowhere}"))
    with pytest.raises(ConfigError, match=re.escape("transformers_args.python")):
        check_managed(configured(f"transformers_args: {{python: {tmp_path}}}"))
    check_managed(configured("transformers_args: {python: /bin/sh}"))


def test_memory_is_shared_with_other_engines(configured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "visible_gpus", lambda _: ("0",))
    with pytest.raises(ConfigError, match=r"GPU 0: the shares of its memory add up to 1\.84"):
        check_managed(configured("replicas: 2, gpus: [0]"))
    check_managed(configured("replicas: 2, gpus: [0], transformers_args: {gpu_memory_utilization: 0.5}"))


def test_a_models_own_code_needs_the_users_word_before_anything_is_downloaded(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("models:\n  hymba: {catalogue: hymba-1.5b}\n")
    with pytest.raises(ConfigError, match=r"models\.hymba\.transformers_args: .*trust_remote_code: true"):
        check_managed(load(file, {}, gpu=False))
    file.write_text("models:\n  hymba: {catalogue: hymba-1.5b, transformers_args: {trust_remote_code: true}}\n")
    check_managed(load(file, {}, gpu=False))
