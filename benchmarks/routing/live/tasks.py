"""The two sets of tasks: their requests, and how to grade the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.routing.live.extraction import KINDS, Message, messages, right_fields
from benchmarks.structured import tools
from benchmarks.structured.bfcl import is_right
from benchmarks.structured.data import ToolTask, tool_tasks
from benchmarks.structured.judge import NotStrict, strict
from benchmarks.structured.reply import Reply
from benchmarks.structured.requests import response_format

CALLS, EXTRACTION = "function calls", "extraction"
SETS = (CALLS, EXTRACTION)
MAX_TOKENS = 160
INSTRUCTION = "Read the message and answer with JSON that has {fields}. Copy every value exactly as it is written."


@dataclass(frozen=True, slots=True)
class Task:
    """One task with a known right answer."""

    id: str
    set: str
    asked: Mapping[str, Any]
    """the request, without a model"""
    expected: ToolTask | Message
    held_out: bool
    """not used for calibration"""
    name: str | None = None
    """the name that the client gives to its kind; None: the router finds the kind itself"""

    def quality(self, reply: Reply) -> float:
        """Return the quality of an answer, 0 to 1: a call is right or not; an extraction is partly right."""
        if reply.choice is None or reply.outcome(self.asked) != "valid":
            return 0.0
        message = reply.choice["message"]
        if isinstance(self.expected, ToolTask):
            return float(is_right(self.expected, message.get("tool_calls") or []))
        try:
            return right_fields(self.expected.fields, strict(message.get("content") or ""))
        except NotStrict:
            return 0.0


def tasks(data: Path, most: int) -> list[Task]:
    """Return at most this number of function-calling tasks, every other one held out, and as many held-out extractions.

    Only function-calling tasks with a single call are used, because the token limit would cut some longer answers.
    For calibration there are twice as many extractions as are held out, because any number can be generated.

    Raises:
        NoData: the function-calling tasks are missing.
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
    # these tasks all have different tools, so only the client can say that they are of one kind
    return Task(task.id, CALLS, _without_model(asked), task, held_out, name="function-calling")


def _extracting(message: Message, place: int) -> Task:
    kind = KINDS[message.kind]
    asked = {
        "messages": [
            {"role": "system", "content": INSTRUCTION.format(fields=", ".join(kind.schema))},
            {"role": "user", "content": message.text},
        ],
        "response_format": response_format(kind.json_schema()),
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
    }
    return Task(f"{message.kind}/{place}", EXTRACTION, asked, message, held_out=place % 3 == 2)


def _without_model(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "model"}
