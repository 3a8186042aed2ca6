"""The fault wall: one gateway and one scripted upstream for all scenarios, models and routes of its own for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.chaos.wall import SCENARIOS
from tests.chaos.wall.remains import PATCH, VARIABLE, Remains
from tests.chaos.wall.report import Row, write_page
from tests.chaos.wall.scenario import Mode, Scenario
from tests.support.gateway import Gateway
from tests.support.lanes import Lane, Plan
from tests.support.upstream import Upstream

FOLDER = Path(__file__).parent
SETTINGS = {"SMALLFIRST_MAX_BODY_BYTES": str(512 * 1024), "SMALLFIRST_MAX_IN_FLIGHT": "64"}


class Case(NamedTuple):
    """A scenario in one mode, and the number of its lane."""

    number: int
    group: str
    scenario: Scenario
    mode: Mode

    def __str__(self) -> str:
        return f"{self.group}, {self.scenario.name}, {self.mode}"


_PAIRS = [
    (group, scenario, mode)
    for group, scenarios in SCENARIOS.items()
    for scenario in scenarios
    for mode in scenario.modes
]
CASES = [Case(number, *pair) for number, pair in enumerate(_PAIRS)]
ROWS = pytest.StashKey[list[Row]]()


class Running(NamedTuple):
    """The gateway, its upstream, and what looks after what is left behind."""

    gateway: Gateway
    upstream: Upstream
    remains: Remains


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.chaos)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=str)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page of `--fault-wall FILE`."""
    file: Path | None = session.config.getoption("--fault-wall")
    if file is not None and (rows := session.config.stash.get(ROWS, None)):
        write_page(file, rows)


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> list[Row]:
    """What the scenarios came to."""
    found: list[Row] = request.config.stash.setdefault(ROWS, [])
    return found


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("chaos")
    held_file = folder / "held.json"
    with Upstream() as upstream:
        env = SETTINGS | {VARIABLE: str(held_file)}
        with Gateway(_models_yaml(upstream), folder, env=env, patch=PATCH) as gateway:
            _warm_up(gateway)
            yield Running(gateway, upstream, Remains(gateway, upstream, held_file))


def _models_yaml(upstream: Upstream) -> dict[str, Any]:
    plans = [Plan(upstream, case.number) for case in CASES]
    for plan, case in zip(plans, CASES, strict=True):
        case.scenario.describe(plan)
    warm = Plan(upstream, len(CASES))
    warm.slm(structured_backend="guidance")
    plans.append(warm)
    return {
        "models": {name: entry for plan in plans for name, entry in plan.models.items()},
        "routes": {name: entry for plan in plans for name, entry in plan.routes.items()},
    }


def _warm_up(gateway: Gateway) -> None:
    """Start what starts at its first use, such as the process that compiles schemas."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "warm", "schema": schema}}
    body = {"model": f"slm-{len(CASES)}", "messages": [{"role": "user", "content": "x"}]}
    for _ in range(2):
        gateway.http.post("/v1/chat/completions", json=body | {"response_format": form})
        assert gateway.http.post("/v1/chat/completions", json=body).status_code == 200


def spare_lane(running: Running) -> Lane:
    """The lane of no case, with a small model alone."""
    return Lane(len(CASES), running.gateway, running.upstream)


@pytest.fixture
def lane(case: Case, running: Running) -> Lane:
    """The models and routes of one case."""
    running.gateway.users[str(case.number)] = str(case)
    return Lane(case.number, running.gateway, running.upstream)
