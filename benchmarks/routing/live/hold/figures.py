"""What a way of holding streams is worth: what is right, what it costs, how soon a stream begins and ends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from benchmarks.routing.live import figures
from benchmarks.routing.live.hold.texts import TextTask
from benchmarks.structured.reply import Reply
from benchmarks.vllm.stats import bootstrap, percentile

Replies = Mapping[str, Reply]
SKIPPED = "cascade: skipped"
"""why a stream went to the large model at once; it is never held"""


def of_way(tasks: Sequence[TextTask], replies: Replies, alone: Mapping[str, Replies]) -> dict[str, Any]:
    """Return `live.figures` with the share of right fields, and the seconds to the first content and to the end."""
    answered = [reply for task in tasks if not (reply := replies[task.id]).error]
    return figures.figures(tasks, replies, alone) | {
        "fields": asdict(bootstrap([task.quality(replies[task.id]) for task in tasks], fmean)),
        "first_s": _spread([reply.first_s for reply in answered]),
        "end_s": _spread([reply.seconds for reply in answered]),
    }


def of_each(tasks: Sequence[TextTask], replies: Replies, early: Collection[str]) -> list[dict[str, Any]]:
    """Return each stream; `early`: the ids of the requests whose stream was let go by its beginning."""
    return [
        {
            "task": task.id,
            "fields": task.quality(reply),
            "model": reply.said.get("model"),
            "reason": reply.said.get("reason"),
            "early": reply.id in early,
            "first_s": reply.first_s,
            "end_s": reply.seconds,
        }
        for task in tasks
        if (reply := replies[task.id])
    ]


def of_early(
    tasks: Sequence[TextTask], replies: Replies, whole: Replies, large: str, early: Collection[str]
) -> dict[str, Any]:
    """Return what became of the streams that were let go by their beginning, and what they would have been else.

    Args:
        tasks: those that were asked.
        replies: to each of them, by its id.
        whole: the same, held to their end at the same threshold.
        large: the model that answers then, where an answer is thrown away.
        early: the ids of the requests whose stream was let go.
    """
    asked = [task for task in tasks if replies[task.id].said.get("reason") != SKIPPED]
    let_go = [task for task in asked if replies[task.id].id in early]
    wrong = {task.id for task in let_go if task.quality(replies[task.id]) < 1}
    thrown_away = {task.id for task in let_go if whole[task.id].said.get("model") == large}
    return {
        "skipped": len(tasks) - len(asked),
        "held": len(asked) - len(let_go),
        "streams": len(let_go),
        "wrong": len(wrong),
        "thrown_away": len(thrown_away),
        "wrong_and_thrown_away": len(wrong & thrown_away),
        "first_s": _spread([replies[task.id].first_s for task in let_go]),
        "first_s_whole": _spread([whole[task.id].first_s for task in let_go]),
    }


def _spread(seconds: Sequence[float | None]) -> dict[str, float] | None:
    """Return the median and what nine of ten stay below, of what was measured."""
    known = [taken for taken in seconds if taken is not None]
    return {"median": percentile(known, 0.5), "p90": percentile(known, 0.9)} if known else None
