"""Streams that break off after their first words have reached the client: another goes on, or an error says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.chaos.wall.plans import IDLE, pair
from tests.chaos.wall.scenario import Check, Outcome, Scenario, Sites, Stage, Verdict, asked, breaks_off, fault, says
from tests.support.behaviours import CUT, HANG, RESET, Behaviour, Call, Pause, stream
from tests.support.lanes import Plan
from tests.support.stream_events import DONE, delta, finished, first, usage_event, usage_of

STREAMED = ("streamed",)
TEXT = "Once upon a time there was a zażółć 🦊 fox."
JSON = '{"name": "John Smith"}'
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
FORMAT = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}
PROMPT_TOKENS = 10
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "get", "arguments": '{"a'}}

BREAKS: dict[str, tuple[Any, ...]] = {
    "the connection is closed": (CUT,),
    "the connection is reset": (Pause(0.05), RESET),
    "the body ends": (b"",),
    "[DONE] comes too early": (DONE,),
    "an event is cut": (b'data: {"id": "chatcmpl-1", "choi', CUT),
    "a character is cut": (b'data: {"choices":[{"index":0,"delta":{"content":"\xf0\x9f', CUT),
    "an event is no JSON": (b"data: {oops\n\n", finished(), DONE),
    "an event is an error": ({"error": {"message": "EngineDeadError", "code": 500}}, DONE),
    "an event is an error without the key `error`": ({"object": "error", "message": "out of memory", "code": 500},),
    "it aborts": (finished("abort"), DONE),
}


def pieces_of(text: str) -> list[str]:
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def tells(text: str, *end: Any, pieces: int | None = None) -> Behaviour:
    """Stream this text, or its rest after the beginning that the last message has, and end as told."""

    async def behave(call: Call) -> None:
        last = call.json["messages"][-1]
        begun = last["content"] if last["role"] == "assistant" else ""
        parts = pieces_of(text[len(begun) :])[:pieces]
        usage = usage_of(PROMPT_TOKENS + len(pieces_of(begun)), len(parts))
        after = end or (finished(), usage_event(usage), DONE)
        own = {"id": f"chatcmpl-{call.site}-{len(begun)}", "created": len(begun)}
        events = [first(), *map(delta, parts), *after]
        await stream(*({**event, **own} if isinstance(event, dict) else event for event in events))(call)

    return behave


def breaking(text: str, *end: Any, then: Behaviour | None = None) -> Callable[[], Sites]:
    """Whichever of two replicas is asked first says a part of the text; the other one can tell it all."""

    def sites() -> Sites:
        begun: list[str] = []

        async def behave(call: Call) -> None:
            if not begun:
                begun.append(call.site)
                await tells(text, *end, pieces=3)(call)
            else:
                await (then or tells(text))(call)

        return {"pair:a": behave, "pair:b": behave}

    return sites


def decoding_pair(plan: Plan) -> None:
    """Two replicas whose decoding keeps formats, so that their streams need not be held back."""
    plan.slm("pair", replicas=2, structured_backend="guidance")


def idle_pair(plan: Plan) -> None:
    plan.slm("pair", replicas=2, timeouts=IDLE)


def up(plan: Plan) -> None:
    """A small model, and a large one that can go on from a beginning."""
    plan.slm()
    plan.llm(prefill=True)
    plan.route("auto", "slm", "llm")


def goes_on(text: str = TEXT) -> Check:
    def check(outcome: Outcome) -> Verdict:
        verdict = says(text)(outcome)
        if verdict is Verdict.PASS:
            tokens = len(pieces_of(text))
            assert outcome.usage == usage_of(PROMPT_TOKENS, tokens), outcome.usage
        return verdict

    return check


def one_role(_stage: Stage, outcome: Outcome) -> None:
    assert outcome.transcript is not None
    roles = [choice["delta"].get("role") for event in outcome.transcript.events for choice in event["choices"]]
    assert len([role for role in roles if role]) == 1


USAGE = {"stream_options": {"include_usage": True}}

SCENARIOS: list[Scenario] = [
    *(
        fault(
            f"{name}: another replica goes on",
            breaking(TEXT, *end),
            goes_on(),
            describe=pair,
            asks=USAGE,
            also=one_role,
            modes=STREAMED,
        )
        for name, end in BREAKS.items()
    ),
    fault(
        "it falls silent: another replica goes on",
        breaking(TEXT, HANG),
        goes_on(),
        describe=idle_pair,
        route="pair",
        asks=USAGE,
        modes=STREAMED,
    ),
    fault(
        "a format breaks off: it is replayed",
        breaking(JSON, CUT),
        goes_on(JSON),
        describe=decoding_pair,
        route="pair",
        asks=FORMAT | USAGE,
        modes=STREAMED,
    ),
    fault(
        "a format breaks off, and its replay differs",
        breaking(JSON, CUT, then=tells('{"name": "Jane"}')),
        breaks_off(JSON[:12], "upstream_error"),
        describe=decoding_pair,
        route="pair",
        asks=FORMAT,
        modes=STREAMED,
    ),
    fault(
        "the next model goes on",
        {"slm": tells(TEXT, CUT, pieces=3), "llm": tells(TEXT)},
        says(TEXT),
        describe=up,
        also=asked(slm=1, llm=1),
        modes=STREAMED,
    ),
    fault(
        "calls are under way",
        {
            "pair:a": stream(first(), delta("Well."), delta(tool_calls=[CALL]), CUT),
            "pair:b": stream(first(), delta("Well."), delta(tool_calls=[CALL]), CUT),
        },
        breaks_off("Well.", "upstream_error"),
        describe=pair,
        route="pair",
        modes=STREAMED,
    ),
    fault(
        "two choices are under way",
        breaking(TEXT, CUT),
        breaks_off(TEXT[:12], "upstream_error"),
        describe=pair,
        route="pair",
        asks={"n": 2},
        modes=STREAMED,
    ),
    fault(
        "it is switched off",
        breaking(TEXT, CUT),
        breaks_off(TEXT[:12], "upstream_error"),
        describe=pair,
        route="pair",
        asks={"routing": {"midstream": "error"}},
        modes=STREAMED,
    ),
    fault(
        "the only model breaks off again and again",
        {"slm": tells(TEXT, CUT, pieces=3)},
        lambda outcome: breaks_off(outcome.text if TEXT.startswith(outcome.text) else "", "upstream_error")(outcome),
        route="slm",
        modes=STREAMED,
    ),
]
