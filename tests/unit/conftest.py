"""Hypothesis without a deadline: a busy machine is no bug. And no lease is ever lost."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.inprocess import Dispatching

settings.register_profile("unit", deadline=None)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def no_lease_is_lost(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made: list[Dispatching] = []
    start = Dispatching.__post_init__

    def remember(self: Dispatching) -> None:
        start(self)
        made.append(self)

    monkeypatch.setattr(Dispatching, "__post_init__", remember)
    yield
    for dispatching in made:
        dispatching.all_is_released()
