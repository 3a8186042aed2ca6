"""Reads answers as a client does, whole ones and streams alike."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.families.formats import Call
from tests.support.events import parse


@dataclass
class Answer:
    """What a client has at the end."""

    content: str = ""
    reasoning: str = ""
    calls: list[dict[str, str]] = field(default_factory=list)
    finish_reason: str = ""
    usage: dict[str, int] = field(default_factory=dict)

    def parsed_calls(self) -> list[Call]:
        """Return the calls with their arguments."""
        return [Call(call["name"], json.loads(call["arguments"])) for call in self.calls]


def read_whole(body: dict[str, Any]) -> Answer:
    """Read a whole answer."""
    [choice] = body["choices"]
    answer = Answer(finish_reason=choice["finish_reason"], usage=body["usage"])
    _add(answer, choice["message"])
    return answer


def read_stream(data: bytes) -> Answer:
    """Put a stream's deltas together."""
    transcript = parse(data)
    assert transcript.done, transcript.error
    answer = Answer()
    for event in transcript.events:
        for choice in event["choices"]:
            _add(answer, choice["delta"])
            answer.finish_reason = choice["finish_reason"] or answer.finish_reason
        answer.usage = event.get("usage") or answer.usage
    return answer


def _add(answer: Answer, part: dict[str, Any]) -> None:
    answer.content += part.get("content") or ""
    answer.reasoning += part.get("reasoning_content") or ""
    for number, call in enumerate(part.get("tool_calls") or ()):
        index = call.get("index", number)
        if index == len(answer.calls):
            assert call["id"]
            answer.calls.append({"name": "", "arguments": ""})
        for key in ("name", "arguments"):
            answer.calls[index][key] += call["function"].get(key) or ""
