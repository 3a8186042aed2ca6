"""The messages of `extraction`, asked for as plain text: a field a line, so that it is known what is right."""

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
"""that are shown with each message: without any, SmolLM2 does not answer in lines"""
_LINE = re.compile(r"^(?:[ \t]*\d+[.)])?[^\w\n]*(\w+)[^\w\n]*?:(.*)$", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_AROUND = " \t\r*_`'\"<>[].,;"


@dataclass(frozen=True, slots=True)
class TextTask(Task):
    """A message to read, and to answer in free text."""

    def quality(self, reply: Reply) -> float:
        """Return the share of right fields; a cut answer is worth what it has."""
        if reply.choice is None or not isinstance(self.to_find, Message):
            return 0.0
        wanted = self.to_find.fields
        return right_fields(wanted, read_lines(reply.choice["message"].get("content") or "", wanted))


def text_tasks(learned: int, held_out: int) -> list[TextTask]:
    """Return so many tasks to learn from and so many held out, of all kinds in turn; none is among their examples."""
    shown = EXAMPLES * len(KINDS)
    every = messages(shown + learned + held_out)
    return [
        TextTask(f"{message.kind}/{place}", "text", _asked(message, every[:shown]), message, held_out=place >= learned)
        for place, message in enumerate(every[shown:])
    ]


def read_lines(text: str, wanted: Mapping[str, object]) -> Fields:
    """Return the fields that a text tells as `name: value`, the first of each name; numbers where one is wanted."""
    found: Fields = {}
    for name, said in _LINE.findall(text):
        field, value = name.casefold(), said.strip(_AROUND)
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
