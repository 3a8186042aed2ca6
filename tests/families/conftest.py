"""One warm parent for all families, and one gateway after the other. `pytest -m families` runs these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.families.entries import FAMILIES
from tests.families.gateways import START_S, Served, served, warm_parent
from tests.families.known_faults import FAULTS
from tests.families.selection import is_for
from tests.families.tiny_models import write_models

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder import vLLM. What a family cannot do is not asked of it."""
    items[:] = [item for item in items if FOLDER not in item.path.parents or is_for(item)]
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.families)
            item.add_marker(pytest.mark.timeout(2 * START_S))
            if fault := FAULTS.get(item.name):
                item.add_marker(pytest.mark.xfail(reason=fault, strict=True))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of all families' tiny models, by name."""
    return write_models(FAMILIES, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def warm_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with warm_parent(tmp_path_factory.mktemp("warm")) as socket:
        yield socket


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def family(
    request: pytest.FixtureRequest,
    tiny_models: dict[str, Path],
    warm_socket: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """A family that is served."""
    one = request.param
    with served(one, tiny_models[one.name], warm_socket, tmp_path_factory.mktemp("family")) as running:
        yield running
