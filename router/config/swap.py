"""Swap groups of models.yaml, and what models that are not always loaded may have. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from router.yaml.document import KeyPath
from router.yaml.entry import Entry, Positive, as_tuple


class SwapGroup(Entry):
    """Models that share memory: at most `keep` of them are loaded at a time, on demand.

    A request for another one waits until a loaded model has nothing to do, or has had its turn. A model is unloaded
    only after its running requests have ended (or `timeouts.drain_s` is over); new ones for it wait meanwhile.
    """

    models: Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
    """the names of the models; each has a `source`"""
    keep: int = Field(1, ge=1)
    """the number of models that are loaded at the same time"""
    turn_s: Positive = 60.0
    """how long a model that is asked without a pause stays loaded while requests wait for another one"""


def swap_faults(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield key and message of each fault that one entry of models.yaml does not show by itself."""
    models = _mappings(data.get("models"))
    group_of: dict[str, str] = {}
    for name, group in _mappings(data.get("swap")).items():
        members = group.get("models")
        if not isinstance(members, list):
            continue
        for place, member in enumerate(members):
            at: KeyPath = ("swap", name, "models", place)
            if member in group_of:
                yield at, f"expected each model in one group, once; it is in {group_of[member]!r} already"
            elif member not in models:
                close = difflib.get_close_matches(str(member), models, n=1)
                yield (
                    at,
                    "unknown model" + (f"; did you mean {close[0]!r}?" if close else "; expected a name of `models`"),
                )
            elif models[member].get("source") is None:
                yield at, "expected a model with `source`: smallfirst loads and unloads only the models that it starts"
            else:
                group_of[member] = name
        keep = group.get("keep", 1)
        if isinstance(keep, int) and keep >= len(members):
            where: KeyPath = ("swap", name, "keep") if "keep" in group else ("swap", name)
            yield where, f"`keep`: expected fewer than the {len(members)} `models` of the group"
    for name, model in models.items():
        yield from _useless_timeouts(name, model, on_demand=name in group_of or model.get("idle_minutes") is not None)


def _useless_timeouts(name: str, model: Mapping[str, Any], *, on_demand: bool) -> Iterator[tuple[KeyPath, str]]:
    timeouts = model.get("timeouts")
    if not isinstance(timeouts, dict) or on_demand:
        return
    if "load_s" in timeouts:
        yield ("models", name, "timeouts", "load_s"), "only for models of a `swap` group or with `idle_minutes`"
    if "drain_s" in timeouts and model.get("hours") is None:
        yield ("models", name, "timeouts", "drain_s"), "only for models of a `swap` group, `idle_minutes` or `hours`"


def _mappings(value: object) -> dict[str, Mapping[str, Any]]:
    """Return those entries of a mapping that are mappings; the others have faults of their own."""
    return {key: entry for key, entry in value.items() if isinstance(entry, dict)} if isinstance(value, dict) else {}
