"""The figures of one variant: how many answers are right, what they cost, and which model gave them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from statistics import fmean
from typing import Any

from benchmarks.common.stats import bootstrap
from benchmarks.routing.live.tasks import SETS, Task
from benchmarks.structured.reply import Reply

PINNED, SKIPPED = "fixed", "cascade: skipped"
"""the reasons of answers for which no other model was asked before"""


def figures(
    tasks: Sequence[Task], replies: Mapping[str, Reply], alone: Mapping[str, Mapping[str, Reply]]
) -> dict[str, Any]:
    """Return the figures of one variant; shares are fractions, dollars are those of a thousand calls.

    Args:
        tasks: the tasks that were asked.
        replies: task id -> reply.
        alone: model -> its replies when it was asked alone; the small model is first.
    """
    small, large = alone
    qualities = {task.id: task.quality(replies[task.id]) for task in tasks}
    is_right = {name: quality == 1.0 for name, quality in qualities.items()}
    asked = {name: _asked(replies[name], small, large) for name in qualities}
    seconds = [taken for name in asked if (taken := replies[name].seconds) is not None]
    return {
        "calls": len(tasks),
        "right": asdict(bootstrap([float(right) for right in is_right.values()], fmean)),
        "sets": {
            name: {
                "calls": len(of),
                "right": fmean(is_right[task.id] for task in of),
                "quality": fmean(qualities[task.id] for task in of),
            }
            for name in SETS
            if (of := [task for task in tasks if task.set == name])
        },
        "usd_per_1000": _per_1000([_usd(replies[name]) for name in asked]),
        "usd_per_1000_apart": _per_1000([_sum(_usd(alone[model][name]) for model in of) for name, of in asked.items()]),
        "by_large": fmean(large in of for of in asked.values()),
        "escalated": fmean(len(of) > 1 for of in asked.values()),
        "mean_s": fmean(seconds) if seconds else None,
        "errors": sum(bool(replies[name].error) for name in asked),
    }


def _asked(reply: Reply, small: str, large: str) -> list[str]:
    """Return the models that were asked for an answer."""
    if reply.metadata.get("model") != large:
        return [small]
    return [large] if reply.metadata.get("reason") in (PINNED, SKIPPED) else [small, large]


def _usd(reply: Reply) -> Decimal | None:
    cost = reply.metadata.get("cost-usd")
    return None if cost is None else Decimal(cost)


def _sum(costs: Iterable[Decimal | None]) -> Decimal | None:
    known = list(costs)
    return None if None in known else sum((cost for cost in known if cost is not None), Decimal())


def _per_1000(costs: Sequence[Decimal | None]) -> float | None:
    """Return the mean dollars of a thousand calls, over the calls with a known cost."""
    known = [cost for cost in costs if cost is not None]
    return float(sum(known)) / len(known) * 1000 if known else None
