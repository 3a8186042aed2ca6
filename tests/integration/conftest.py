"""One scripted upstream and one gateway for a module, one lane for a test.

A module says what its lanes hold with a function `describe(plan)`, and how its gateway starts with `ENV` and `ARGS`.
Where most tests are refused before any upstream is called, `LANES` says how many lanes will do: one in which no
upstream was called serves the next test too. (Every lane makes each reading of /metrics longer.)
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from server.cli import main
from tests.support.gateway import Gateway
from tests.support.lanes import Lane, models_yaml, usual
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    module = request.module
    tests = [item for item in request.session.items if item.getparent(pytest.Module).obj is module]
    most = sum("lane" in getattr(item, "fixturenames", ()) for item in tests)
    lanes = min(most, getattr(module, "LANES", most)) or 1
    config = models_yaml(upstream, lanes, getattr(module, "describe", usual))
    folder = tmp_path_factory.mktemp(module.__name__.rpartition(".")[2])
    with Gateway(config, folder, env=getattr(module, "ENV", None), args=getattr(module, "ARGS", ())) as running:
        yield running


@pytest.fixture(scope="module")
def _unused() -> Iterator[int]:
    """The number of the next lane that no test has used."""
    return itertools.count()


@pytest.fixture(scope="module")
def _current(_unused: Iterator[int]) -> list[int]:
    return [next(_unused)]


@pytest.fixture
def lane(
    request: pytest.FixtureRequest, gateway: Gateway, upstream: Upstream, _unused: Iterator[int], _current: list[int]
) -> Iterator[Lane]:
    """Give the test a lane of its own; afterwards nothing of it may still be taken."""
    mine = Lane(_current[0], gateway, upstream)
    yield mine
    if mine.used or not hasattr(request.module, "LANES"):
        _current[0] = next(_unused)
        gateway.assert_idle()


class Done(NamedTuple):
    """A command's end."""

    code: int
    stdout: str
    stderr: str


Command = Callable[..., Done]


@pytest.fixture
def smallfirst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `smallfirst COMMAND --config FILE ...` in this process, where `models_yaml` is the file's text."""

    def run(command: str, models_yaml: str, *args: str, **env: str) -> Done:
        config = tmp_path / "models.yaml"
        config.write_text(models_yaml)
        for name in [name for name in os.environ if name.startswith("SMALLFIRST_")]:
            monkeypatch.delenv(name)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        code = main([command, "--config", str(config), *args])
        return Done(code, *capsys.readouterr())

    return run
