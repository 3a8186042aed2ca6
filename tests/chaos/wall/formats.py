"""Structured output: what breaks the format never reaches the client, what is meant rightly does."""

from __future__ import annotations

import json
from typing import Any

from tests.chaos.wall.plans import one_of, pair
from tests.chaos.wall.scenario import Check, Outcome, Scenario, Verdict, asked, fault, refuses
from tests.chaos.wall.upstreams import either, message, unless
from tests.support.behaviours import CUT, answer, error, stream
from tests.support.lanes import Plan
from tests.support.stream_events import delta, first

SCHEMA = {
    "type": "object",
    "properties": {"age": {"type": "integer", "minimum": 0}},
    "required": ["age"],
    "additionalProperties": False,
}
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}}
GOOD, BAD = '{"age": 42}', '{"age": "old"}'
VALUE = {"age": 42}


def holds(value: Any = VALUE, *, by: str | None = None) -> Check:
    """A complete answer whose text is this JSON value."""

    def check(outcome: Outcome) -> Verdict:
        if outcome.error is not None:
            assert outcome.error["code"] != "internal_error", outcome.error
            assert not outcome.text, "a part of an answer that was not checked"
            return Verdict.SAFE
        assert json.loads(outcome.text) == value
        assert outcome.finish == ["stop"]
        if by is not None:
            assert outcome.model.rpartition("-")[0] == by
        return Verdict.PASS

    return check


MEANT = {
    "fenced": f"```json\n{GOOD}\n```",
    "with words around it": f"Sure! Here it is:\n\n{GOOD}\n\nAnything else?",
    "with a comma too many": '{"age": 42,}',
    "after a thought": f"<think>\nHow old?\n</think>\n\n{GOOD}",
}
CANNOT = error(
    400, "The provided JSON schema contains features not supported by xgrammar.", kind="BadRequestError", code=400
)


def alone(plan: Plan) -> None:
    plan.slm()


SCENARIOS: list[Scenario] = [
    *(
        fault(f"valid, but {name}", {"slm": answer(text)}, holds(by="slm"), asks=FORM, also=asked(slm=1, llm=0))
        for name, text in MEANT.items()
    ),
    fault("invalid once", {"slm": (answer(BAD), answer(GOOD))}, holds(by="slm"), asks=FORM, also=asked(slm=2, llm=0)),
    fault(
        "invalid again and again",
        {"slm": answer(BAD), "llm": answer(GOOD)},
        holds(by="llm"),
        asks=FORM,
        also=asked(slm=2, llm=1),
    ),
    fault("no JSON at all", {"slm": answer("I am sorry."), "llm": answer(GOOD)}, holds(by="llm"), asks=FORM),
    fault(
        "invalid from every model",
        {"slm": answer(BAD), "llm": answer(BAD)},
        refuses(502, "structured_output_violation"),
        asks=FORM,
    ),
    fault("brackets without end", {"slm": answer("[" * 50_000), "llm": answer(GOOD)}, holds(by="llm"), asks=FORM),
    fault(
        "the stream breaks off while it is held back",
        {"slm": either(answer(GOOD), stream(first(), delta('{"age"'), CUT)), "llm": answer(GOOD)},
        holds(by="llm"),
        asks=FORM,
        modes=("streamed",),
    ),
    fault(
        "one replica breaks the format's stream",
        one_of(either(error(500), stream(first(), delta('{"age"'), CUT)), answer(GOOD)),
        holds(by="pair"),
        describe=pair,
        asks=FORM,
    ),
    fault("valid JSON among the thoughts", {"slm": message(reasoning=GOOD)}, holds(by="slm"), asks=FORM),
    fault(
        "the engine cannot enforce the schema",
        {"slm": unless("response_format", CANNOT, answer(GOOD))},
        holds(by="slm"),
        asks=FORM,
    ),
    fault(
        "the engine ignores the schema",
        {"slm": unless("response_format", answer(BAD), answer(BAD)), "llm": answer(GOOD)},
        holds(by="llm"),
        asks=FORM,
    ),
    fault(
        "json_object wants the word json",
        {
            "slm": error(
                400,
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            ),
            "llm": answer(GOOD),
        },
        holds(),
        asks={"response_format": {"type": "json_object"}},
    ),
    fault(
        "a schema in another dialect",
        {"slm": answer(BAD), "llm": answer(GOOD)},
        holds(by="llm"),
        asks={"response_format": {"type": "json_object", "schema": SCHEMA}},
    ),
    fault(
        "a schema that is none",
        {},
        refuses(400, "invalid_value"),
        asks={"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 7}}}},
    ),
]
