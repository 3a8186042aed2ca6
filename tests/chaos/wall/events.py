"""Streams that are sound, but look unusual, or that do not end as they should."""

from __future__ import annotations

import json
from typing import Any

from tests.chaos.wall.outcome import Outcome
from tests.chaos.wall.scenario import Scenario, Stage, breaks_off, fault, says
from tests.support.behaviours import Behaviour, Pause, answer, stream
from tests.support.stream_events import DONE, delta, finished, first, split, sse, usage_event, usage_of

STREAMED = ("streamed",)
WORDS = "Zażółć gęślą jaźń: 東京 🦊 \u2028 and é as e\u0301."
EVENTS = (first(), *(delta(piece) for piece in WORDS.partition("東")), finished(), usage_event(usage_of(10, 2)), DONE)
RAW = b"".join(map(sse, EVENTS))
LONG = "x" * 2**20


def crlf(event: Any) -> bytes:
    return sse(event).replace(b"\n", b"\r\n")


def in_lines(event: Any) -> bytes:
    """Return an event whose JSON has a line for each entry."""
    return b"".join(b"data: " + line.encode() + b"\n" for line in json.dumps(event, indent=1).splitlines()) + b"\n"


def counted(_stage: Stage, outcome: Outcome) -> None:
    assert outcome.transcript is not None
    assert outcome.transcript.usages == [usage_of(10, 2)]
    assert outcome.transcript.events[-1]["choices"] == []


def uncounted(_stage: Stage, outcome: Outcome) -> None:
    assert outcome.transcript is not None
    assert outcome.transcript.usages == [], "nobody asked for it"


def without_usage(_stage: Stage, outcome: Outcome) -> None:
    assert outcome.transcript is not None
    assert outcome.transcript.usages == []


def one(name: str, behaviour: Behaviour, text: str = WORDS, **more: Any) -> Scenario:
    return fault(name, {"slm": behaviour}, says(text, by="slm"), modes=STREAMED, **more)


SCENARIOS: list[Scenario] = [
    one("each byte alone", stream(*split(RAW))),
    one(
        "three bytes at a time, with pauses",
        stream(*(part for piece in split(RAW, 64) for part in (piece, Pause(0.001)))),
    ),
    one("lines end with CR LF", stream(*map(crlf, EVENTS[:-1]), b"data: [DONE]\r\n\r\n")),
    one("CR LF, each byte alone", stream(*split(RAW.replace(b"\n", b"\r\n")))),
    one("comments between events", stream(b": hi\n\n", *(part for event in EVENTS for part in (event, b": ping\n\n")))),
    one("events of many lines", stream(*map(in_lines, EVENTS[:-1]), DONE)),
    one("other fields than data", stream(*(b"event: chunk\nid: 7\nretry: 10\n" + sse(event) for event in EVENTS))),
    one("no blank after the colon", stream(RAW.replace(b"data: ", b"data:"))),
    one("a byte order mark", stream(b"\xef\xbb\xbf" + RAW)),
    one("an event of a megabyte", stream(first(), delta(LONG), finished(), DONE), LONG),
    one(
        "a megabyte in small chunks",
        stream(*split(b"".join(map(sse, (first(), delta(LONG), finished(), DONE))), 4000)),
        LONG,
    ),
    one(
        "a hundred events at once",
        stream(b"".join(map(sse, (first(), *[delta("x")] * 100, finished(), DONE)))),
        "x" * 100,
    ),
    one("usage that is asked for", answer(WORDS), asks={"stream_options": {"include_usage": True}}, also=counted),
    one("usage that nobody asked for", stream(*EVENTS), also=uncounted),
    one(
        "usage in every event",
        stream(*({**event, "usage": usage_of(10, 2)} if isinstance(event, dict) else event for event in EVENTS)),
    ),
    one(
        "no usage, though asked for",
        stream(*EVENTS[:-2], DONE),
        asks={"stream_options": {"include_usage": True}},
        also=without_usage,
    ),
    one("no [DONE]", stream(*EVENTS[:-1])),
    one("events after [DONE]", stream(*EVENTS, delta("more"), DONE)),
    one("`choices: []` first", stream({**first(), "choices": []}, *EVENTS)),
    one(
        "deltas that are null",
        stream(first(), {**first(), "choices": [{"index": 0, "delta": None, "finish_reason": None}]}, *EVENTS[1:]),
    ),
    fault(
        "invalid JSON in the first event",
        {"slm": stream(b"data: {oops\n\n", *EVENTS)},
        says(by="llm"),
        modes=STREAMED,
    ),
    fault(
        "[DONE] without a finish_reason, and nobody can go on",
        {"slm": stream(first(), delta("Par"), DONE)},
        breaks_off("Par", "upstream_error"),
        route="slm",
        modes=STREAMED,
    ),
]
