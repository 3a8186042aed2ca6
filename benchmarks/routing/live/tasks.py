"""The two sets of tasks, as requests and with who can tell how good an answer is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.routing.live.extraction import KINDS, Message, messages, right_fields
from benchmarks.structured import tools
from benchmarks.structured.bfcl import right
from benchmarks.structured.data import ToolTask, tool_tasks
from benchmarks.structured.judge import NotStrict, strict
from benchmarks.structured.reply import Reply
from benchmarks.structured.requests import as_format

CALLS, EXTRACTION = "function calls", "extraction"
SETS = (CALLS, EXTRACTION)
MAX_TOKENS = 160
INSTRUCTION = "Read the message and answer with JSON that has {fields}. Copy every value exactly as it is written."


@dataclass(frozen=True, slots=True)
class Task:
    """One task, of which it is known what is right."""

    id: str
    set: str
    asked: Mapping[str, Any]
    """the request, without a model"""
    to_find: ToolTask | Message
    held_out: bool
    """nothing is learned from it"""
    name: str | None = None
    """what the client calls its kind; None: the router tells it by itself"""

    def quality(self, reply: Reply) -> float:
        """Return how good an answer is, 0 to 1: a call is right or not, of an extraction the share of right fields."""
        if reply.choice is None or reply.outcome(self.asked) != "valid":
            return 0.0
        message = reply.choice["message"]
        if isinstance(self.to_find, ToolTask):
            return float(right(self.to_find, message.get("tool_calls") or []))
        try:
            return right_fields(self.to_find.fields, strict(message.get("content") or ""))
        except NotStrict:
            return 0.0


def tasks(data: Path, most: int) -> list[Task]:
    """Return up to so many function-calling tasks, every other one held out, and as many held-out extractions.

    Of function calling those that one call answers: of several, the token limit would decide about some. Of extraction,
    twice as many as are held out are there to learn from: there is no end of them.

    Raises:
        NoData: the function-calling tasks are not there.
    """
    wanting = [
        task for task in tool_tasks(data) if task.expect_call and task.truth is not None and len(task.truth) == 1
    ]
    return [
        *(_calling(task, held_out=place % 2 == 1) for place, task in enumerate(wanting[:most])),
        *(_extracting(message, place) for place, message in enumerate(messages(most * 3 // 2))),
    ]


def _calling(task: ToolTask, *, held_out: bool) -> Task:
    asked = tools.body("", task, "pinned")
    # each of these tasks has tools of its own, so their client says that they are of one kind
    return Task(task.id, CALLS, _without_model(asked), task, held_out, name="function-calling")


def _extracting(message: Message, place: int) -> Task:
    kind = KINDS[message.kind]
    asked = {
        "messages": [
            {"role": "system", "content": INSTRUCTION.format(fields=", ".join(kind.schema))},
            {"role": "user", "content": message.text},
        ],
        "response_format": as_format(kind.json_schema()),
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
    }
    return Task(f"{message.kind}/{place}", EXTRACTION, asked, message, held_out=place % 3 == 2)


def _without_model(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "model"}
