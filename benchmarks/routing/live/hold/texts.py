"""The messages of `extraction`, with answers in plain text: one field per line, so that answers can be graded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.routing.live.extraction import KINDS, Fields, Message, messages, right_fields
from benchmarks.routing.live.tasks import Task
from benchmarks.structured.reply import Reply

MAX_TOKENS = 64
INSTRUCTION = "Read the message and answer with a line for each of {fields}. Copy every value exactly as it is written."
EXAMPLES = 2
"""shown with each message: without examples, SmolLM2 does not answer in lines"""
_LINE = re.compile(r"^(?:[ \t]*\d+[.)])?[^\w\n]*(\w+)[^\w\n]*?:(.*)$", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_AROUND = " \t\r*_`'\"<>[].,;"


@dataclass(frozen=True, slots=True)
class TextTask(Task):
    """A message to read, and to answer in free text."""

    def quality(self, reply: Reply) -> float:
        """Return the share of right fields; a cut answer counts with the fields that it has."""
        if reply.choice is None or not isinstance(self.expected, Message):
            return 0.0
        wanted = self.expected.fields
        return right_fields(wanted, read_lines(reply.choice["message"].get("content") or "", wanted))


def text_tasks(calibration: int, held_out: int) -> list[TextTask]:
    """Return tasks for calibration and held-out tasks, of all kinds in turn. None is also an example."""
    shown = EXAMPLES * len(KINDS)
    every = messages(shown + calibration + held_out)
    return [
        TextTask(
            f"{message.kind}/{place}", "text", _asked(message, every[:shown]), message, held_out=place >= calibration
        )
        for place, message in enumerate(every[shown:])
    ]


def read_lines(text: str, wanted: Mapping[str, object]) -> Fields:
    """Return the fields that a text has as `name: value`, the first of each name, as numbers if one is expected."""
    found: Fields = {}
    for name, given in _LINE.findall(text):
        field, value = name.casefold(), given.strip(_AROUND)
        if field not in wanted or field in found:
            continue
        if isinstance(wanted[field], str):
            found[field] = value
        elif number := _NUMBER.search(value):
            found[field] = float(number[0])
    return found


def _asked(message: Message, examples: Sequence[Message]) -> dict[str, object]:
    chat = [("system", INSTRUCTION.format(fields=", ".join(KINDS[message.kind].schema)))]
    for one in examples:
        if one.kind == message.kind:
            chat += [
                ("user", one.text),
                ("assistant", "\n".join(f"{name}: {value}" for name, value in one.fields.items())),
            ]
    return {
        "messages": [{"role": role, "content": text} for role, text in (*chat, ("user", message.text))],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
    }
