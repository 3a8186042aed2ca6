"""One scripted upstream and one gateway for a module, one lane for a test.

A module says what its lanes hold with a function `describe(plan)`, and how its gateway starts with `ENV`, `ARGS` and
`PATCH`. Where most tests are refused before any upstream is called, `LANES` says how many lanes will do: one in which
no upstream was called serves the next test too. (Every lane makes each reading of /metrics longer.)
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from server.cli import main
from tests.support.gateway import Gateway
from tests.support.lanes import Lane, models_yaml, usual
from tests.support.upstream import Upstream

FOLDER = Path(__file__).parent


class Launcher:
    """Each module's gateway, launched while the module before it runs: a start is a second of imports."""

    def __init__(self, session: pytest.Session, tmp_path_factory: pytest.TempPathFactory) -> None:
        self._tests: dict[ModuleType, list[pytest.Item]] = {}
        for item in session.items:
            if "gateway" in getattr(item, "fixturenames", ()) and FOLDER in item.path.parents:
                self._tests.setdefault(item.getparent(pytest.Module).obj, []).append(item)
        self._waiting = iter(self._tests)
        self._tmp_path_factory = tmp_path_factory
        self._launched: dict[ModuleType, tuple[Upstream, Gateway]] = {}

    def take(self, module: ModuleType) -> tuple[Upstream, Gateway]:
        """Return the module's own, and launch the next one."""
        while module not in self._launched:
            self._launch(next(self._waiting))
        if (following := next(self._waiting, None)) is not None:
            self._launch(following)
        return self._launched.pop(module)

    def end_unused(self) -> None:
        for upstream, gateway in self._launched.values():
            gateway.kill()
            gateway.http.close()
            upstream.stop()

    def _launch(self, module: ModuleType) -> None:
        most = sum("lane" in item.fixturenames for item in self._tests[module])
        lanes = min(most, getattr(module, "LANES", most)) or 1
        upstream = Upstream().start()
        config = models_yaml(upstream, lanes, getattr(module, "describe", usual))
        folder = self._tmp_path_factory.mktemp(module.__name__.rpartition(".")[2])
        settings = {name.lower(): getattr(module, name) for name in ("ENV", "ARGS", "PATCH") if hasattr(module, name)}
        gateway = Gateway(config, folder, **settings)
        self._launched[module] = upstream, gateway.launch()


@pytest.fixture(scope="session")
def _launcher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    launcher = Launcher(request.session, tmp_path_factory)
    yield launcher
    launcher.end_unused()


@pytest.fixture(scope="module")
def _running(request: pytest.FixtureRequest, _launcher: Launcher) -> Iterator[tuple[Upstream, Gateway]]:
    upstream, gateway = _launcher.take(request.module)
    try:
        with gateway:
            yield upstream, gateway
    finally:
        upstream.stop()


@pytest.fixture(scope="module")
def gateway(_running: tuple[Upstream, Gateway]) -> Gateway:
    return _running[1]


@pytest.fixture(scope="module")
def upstream(_running: tuple[Upstream, Gateway]) -> Upstream:
    return _running[0]


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
    """Give the test a lane of its own. What it leaves behind fails the module's end, with its lane and name."""
    mine = Lane(_current[0], gateway, upstream)
    gateway.users[str(mine.number)] = request.node.name
    yield mine
    if mine.used or not hasattr(request.module, "LANES"):
        _current[0] = next(_unused)


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
