"""Answers that would never end, and those that end at a limit."""

from __future__ import annotations

from tests.chaos.wall.scenario import Scenario, fault, header, refuses, says
from tests.chaos.wall.upstreams import either, message
from tests.support.behaviours import Forever, answer, stream
from tests.support.lanes import Plan
from tests.support.stream_events import delta, first

STRINGS = {"type": "array", "items": {"type": "string"}}
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "strings", "schema": STRINGS}}}
VALID = '["red", "green"]'
REPEATED = '["' + "1.0.0/" * 200
ENDLESS = stream(first(), delta('["'), Forever(delta("ha")))


def llamacpp(plan: Plan) -> None:
    """An engine that stops no text that repeats itself."""
    plan.slm(engine="llamacpp")
    plan.llm()
    plan.route("auto", "slm", "llm")


SCENARIOS: list[Scenario] = [
    fault(
        "a format that repeats itself, and the engine stops it",
        {"slm": message("repetition", content=REPEATED), "llm": answer(VALID)},
        says(VALID, by="llm"),
        asks=FORM,
    ),
    fault(
        "a format that repeats itself, and the engine does not stop it",
        {"slm": ENDLESS, "llm": answer(VALID)},
        says(VALID, by="llm"),
        describe=llamacpp,
        asks=FORM,
        also=header("reason", "runaway"),
    ),
    fault(
        "a format that repeats itself, of the only model",
        {"slm": either(message("repetition", content=REPEATED), ENDLESS)},
        refuses(502, "structured_output_violation"),
        route="slm",
        asks=FORM,
    ),
    fault(
        "the limit of tokens cuts a text",
        {"slm": message("length", content="Paris is")},
        says("Paris is", finish="length", by="slm"),
        asks={"max_tokens": 2},
    ),
    fault(
        "the limit of tokens cuts a format",
        {"slm": message("length", content='["red", "gr')},
        says('["red", "gr', finish="length", by="slm"),
        route="slm",
        asks=FORM | {"max_tokens": 4},
    ),
]
