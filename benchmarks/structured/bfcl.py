"""Whether a function call is right, by the rules of the Berkeley Function-Calling Leaderboard."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.structured.data import ToolTask
from benchmarks.structured.judge import NotStrict, strict

Truth = Mapping[str, Mapping[str, Sequence[Any]]]
_IGNORED = re.compile(r"[\s,./_*^'\"-]")
MAY_BE_LEFT_OUT = ""


def is_right(task: ToolTask, calls: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether an answer has the expected calls, in any order.

    If the task does not say which calls are right, any call is. If no call is expected, only an answer without one is.
    """
    if not task.expect_call or task.truth is None:
        return bool(calls) == task.expect_call
    return len(calls) == len(task.truth) and _paired(task, list(calls), task.truth)


def _paired(task: ToolTask, calls: list[Mapping[str, Any]], truths: Sequence[Truth]) -> bool:
    """Return whether each expected call can be paired with another given call; all pairings are tried."""
    if not truths:
        return True
    return any(
        _same(task, call, truths[0]) and _paired(task, calls[:place] + calls[place + 1 :], truths[1:])
        for place, call in enumerate(calls)
    )


def _same(task: ToolTask, call: Mapping[str, Any], truth: Truth) -> bool:
    [(name, accepted)] = truth.items()
    try:
        arguments = strict(call["function"]["arguments"])
    except (NotStrict, TypeError):
        return False
    given = call["function"]["name"]
    return task.name_map.get(given, given) == name and _fields(accepted, arguments)


def _fields(accepted: Mapping[str, Sequence[Any]], given: object) -> bool:
    """Return whether an object has all expected fields, each with an accepted value, and no others."""
    return (
        isinstance(given, dict)
        and given.keys() <= accepted.keys()
        and all(
            any(_equal(value, given[name]) for value in values) if name in given else MAY_BE_LEFT_OUT in values
            for name, values in accepted.items()
        )
    )


def _equal(wanted: object, given: object) -> bool:
    """Compare as the leaderboard does: without letter case, spaces and punctuation of texts."""
    if isinstance(wanted, dict):
        return _fields(wanted, given)
    if isinstance(wanted, list):
        return (
            isinstance(given, list)
            and len(wanted) == len(given)
            and all(_equal(one, other) for one, other in zip(wanted, given, strict=True))
        )
    if isinstance(wanted, str) and isinstance(given, str):
        return _IGNORED.sub("", wanted).casefold() == _IGNORED.sub("", given).casefold()
    return wanted == given and isinstance(wanted, bool) == isinstance(given, bool)
