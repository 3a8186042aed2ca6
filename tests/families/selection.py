"""Which families a test is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.families.entries import Family

Predicate = Callable[[Family], bool]
_ATTRIBUTE = "families"


def for_families(predicate: Predicate) -> Callable[[Any], Any]:
    """Mark a test: it is for the families of which the predicate is true."""

    def mark(test: Any) -> Any:
        setattr(test, _ATTRIBUTE, predicate)
        return test

    return mark


def is_for(item: pytest.Item) -> bool:
    """Return whether a test is for the family that it has got."""
    predicate: Predicate | None = getattr(getattr(item, "function", None), _ATTRIBUTE, None)
    return predicate is None or predicate(item.callspec.params["family"])  # type: ignore[attr-defined]
