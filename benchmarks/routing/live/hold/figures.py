"""The figures of a way to hold streams: right fields, cost, and when a stream begins and ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from benchmarks.common.stats import bootstrap, percentile
from benchmarks.routing.live import figures
from benchmarks.routing.live.hold.texts import TextTask
from benchmarks.structured.reply import Reply

Replies = Mapping[str, Reply]
SKIPPED = "cascade: skipped"
"""the reason of streams that went to the large model at once; they are never held"""


def hold_figures(tasks: Sequence[TextTask], replies: Replies, alone: Mapping[str, Replies]) -> dict[str, Any]:
    """Return `live.figures` with the share of right fields, and the seconds to the first content and to the end."""
    answered = [reply for task in tasks if not (reply := replies[task.id]).error]
    return figures.figures(tasks, replies, alone) | {
        "fields": asdict(bootstrap([task.quality(replies[task.id]) for task in tasks], fmean)),
        "first_s": _spread([reply.first_s for reply in answered]),
        "end_s": _spread([reply.seconds for reply in answered]),
    }


def stream_rows(tasks: Sequence[TextTask], replies: Replies, early: Collection[str]) -> list[dict[str, Any]]:
    """Return a row for each stream; `early`: the ids of the requests whose streams were released early."""
    return [
        {
            "task": task.id,
            "fields": task.quality(reply),
            "model": reply.metadata.get("model"),
            "reason": reply.metadata.get("reason"),
            "early": reply.id in early,
            "first_s": reply.first_s,
            "end_s": reply.seconds,
        }
        for task in tasks
        if (reply := replies[task.id])
    ]


def early_figures(
    tasks: Sequence[TextTask], replies: Replies, whole: Replies, large: str, early: Collection[str]
) -> dict[str, Any]:
    """Return the outcomes of the streams that were released early, compared with holding them to their end.

    Args:
        tasks: the tasks that were asked.
        replies: task id -> reply.
        whole: the same for streams that were held to their end, at the same threshold.
        large: the model that answers if an answer is discarded.
        early: the ids of the requests whose streams were released early.
    """
    asked = [task for task in tasks if replies[task.id].metadata.get("reason") != SKIPPED]
    released = [task for task in asked if replies[task.id].id in early]
    wrong = {task.id for task in released if task.quality(replies[task.id]) < 1}
    discarded = {task.id for task in released if whole[task.id].metadata.get("model") == large}
    return {
        "skipped": len(tasks) - len(asked),
        "held": len(asked) - len(released),
        "streams": len(released),
        "wrong": len(wrong),
        "thrown_away": len(discarded),
        "wrong_and_thrown_away": len(wrong & discarded),
        "first_s": _spread([replies[task.id].first_s for task in released]),
        "first_s_whole": _spread([whole[task.id].first_s for task in released]),
    }


def _spread(seconds: Sequence[float | None]) -> dict[str, float] | None:
    """Return the median and the 90th percentile of the known values; None: there are none."""
    known = [taken for taken in seconds if taken is not None]
    return {"median": percentile(known, 0.5), "p90": percentile(known, 0.9)} if known else None
