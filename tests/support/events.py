"""Reads a stream of server-sent events strictly, as bytes came: events, comments, `[DONE]`, and their order."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

SUMMARY = "smallfirst "


@dataclass
class Transcript:
    """A finished stream."""

    events: list[dict[str, Any]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    done: bool = False
    order: list[str] = field(default_factory=list)
    """`event`, `comment` or `done`, in the order in which they came"""

    @property
    def text(self) -> str:
        """The content of choice 0."""
        choices = [choice for event in self.events for choice in event.get("choices", ()) if choice["index"] == 0]
        return "".join(c.get("text") or (c.get("delta") or {}).get("content") or "" for c in choices)

    @property
    def finish_reasons(self) -> list[str]:
        choices = [choice for event in self.events for choice in event.get("choices", ())]
        return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]

    @property
    def usages(self) -> list[dict[str, Any]]:
        return [event["usage"] for event in self.events if event.get("usage")]

    @property
    def error(self) -> dict[str, Any] | None:
        return next((event["error"] for event in self.events if "error" in event), None)

    @property
    def summary(self) -> dict[str, Any]:
        """The comment `: smallfirst {...}` that tells what is known only at the end."""
        found = [c.removeprefix(SUMMARY) for c in self.comments if c.startswith(SUMMARY)]
        assert len(found) == 1, f"expected one summary comment, got {self.comments}"
        return json.loads(found[0])


def parse(data: bytes) -> Transcript:
    """Parse per the HTML standard's event-stream rules; our own output uses LF, and `data` lines hold whole JSON."""
    transcript = Transcript()
    lines: list[str] = []
    for line in data.decode("utf-8").split("\n"):
        if line == "":
            if lines:
                _dispatch(transcript, "\n".join(lines))
            lines = []
        elif line.startswith(":"):
            transcript.comments.append(line[1:].removeprefix(" "))
            transcript.order.append("comment")
        else:
            name, _, value = line.partition(":")
            assert name in ("data", "event", "id", "retry"), f"not a line of an event stream: {line!r}"
            if name == "data":
                lines.append(value.removeprefix(" "))
    assert not lines, f"the stream ends inside an event: {lines}"
    return transcript


def _dispatch(transcript: Transcript, payload: str) -> None:
    assert not transcript.done, f"an event after [DONE]: {payload!r}"
    if payload == "[DONE]":
        transcript.done = True
        transcript.order.append("done")
    else:
        transcript.events.append(json.loads(payload))
        transcript.order.append("event")
