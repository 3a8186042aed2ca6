"""An upstream that says nothing, or too little."""

from __future__ import annotations

from tests.chaos.wall.plans import brief, brief_pair, one_of
from tests.chaos.wall.scenario import asked, breaks_off, fault, refuses, says
from tests.chaos.wall.upstreams import either
from tests.support.behaviours import HANG, Forever, Pause, raw, stream
from tests.support.lanes import LONG, Plan
from tests.support.stream_events import delta, first

STALLED_BODY = raw(b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"id": "x", ', HANG)


def total(plan: Plan) -> None:
    """Only the whole answer has a limit."""
    plan.slm(timeouts=LONG | {"total_s": 2})


SCENARIOS = [
    fault("silent before the headers", {"slm": raw(HANG)}, says(by="llm"), describe=brief, also=asked(slm=1, llm=1)),
    fault("silent after the headers", {"slm": either(STALLED_BODY, stream(HANG))}, says(by="llm"), describe=brief),
    fault("silent after the role", {"slm": stream(first(), HANG)}, says(by="llm"), describe=brief, modes=("streamed",)),
    fault("one replica is silent", one_of(raw(HANG)), says(by="pair"), describe=brief_pair, also=asked(llm=0)),
    fault(
        "the only model is silent", {"slm": raw(HANG)}, refuses(504, "upstream_timeout"), describe=brief, route="slm"
    ),
    fault(
        "comments and no word",
        {"slm": stream(Forever(b": ping\n\n", Pause(0.05)))},
        says(by="llm"),
        describe=brief,
        modes=("streamed",),
    ),
    fault(
        "silent in the middle, and nobody can go on",
        {"slm": stream(first(), delta("Par"), HANG)},
        breaks_off("Par", "upstream_timeout"),
        describe=brief,
        route="slm",
        modes=("streamed",),
    ),
    fault(
        "a drip that would take for ever",
        {"slm": either(raw(HANG), stream(first(), Forever(delta("x"), Pause(0.05))))},
        lambda outcome: breaks_off(outcome.text if set(outcome.text) <= {"x"} else "", "upstream_timeout")(outcome),
        describe=total,
        route="slm",
    ),
    fault(
        "the client's own deadline",
        {"slm": raw(HANG), "llm": raw(HANG)},
        refuses(504, "deadline_exceeded"),
        asks={"routing": {"deadline_ms": 300}},
    ),
]
