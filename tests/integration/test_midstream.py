"""A replica dies in the middle of a stream: the client reads one whole answer, or an error event."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.behaviours import CUT, HANG, RESET, Behaviour, Call, Forever, Gate, Pause, answer, error, stream
from tests.support.caller import Caller
from tests.support.cut_answers import assembled
from tests.support.lanes import LONG, Lane, Plan
from tests.support.stream_events import DONE, delta, finished, first, usage_event, usage_of

TEXT = "Once upon a time there was a zażółć 🦊 fox."
PIECES = [TEXT[at : at + 4] for at in range(0, len(TEXT), 4)]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
JSON = '{"name": "John Smith"}'
PROMPT_TOKENS = 10


def describe(plan: Plan) -> None:
    plan.slm("pair", replicas=2, structured_backend="guidance")
    plan.llm()
    plan.route("auto", "pair", "llm")
    plan.slm("idle", replicas=2, timeouts=LONG | {"idle_s": 0.4})
    plan.slm("slm")
    plan.llm("prefill", prefill=True)
    plan.route("up", "slm", "prefill")
    plan.route("down", "pair", "prefill")


def pieces_of(text: str) -> list[str]:
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def says(text: str, *end: Any, pieces: int | None = None) -> Behaviour:
    """Answer as vLLM does: the text, or its rest after the beginning that the last message has."""

    async def behave(call: Call) -> None:
        asked = call.json
        begun = ""
        last = asked["messages"][-1] if "messages" in asked else {"role": "", "content": asked["prompt"]}
        if last["role"] == "assistant":
            begun = last["content"]
        elif "prompt" in asked:
            begun = asked["prompt"].removeprefix("Tell: ")
        assert text.startswith(begun), begun
        parts = pieces_of(text[len(begun) :])[:pieces]
        prompt = PROMPT_TOKENS + len(pieces_of(begun))
        after = end or (finished(), usage_event(usage_of(prompt, len(parts))), DONE)
        chat = "messages" in asked
        events: list[Any] = [first()] if chat else []
        own = {"id": f"chatcmpl-{call.site}", "created": len(begun), "model": call.site}
        for part in parts:
            one = delta(part)
            if not chat:
                one["choices"] = [{"index": 0, "text": part, "finish_reason": None}]
            events.append(one)
        if not chat and not end:
            after = ({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}, *after[1:])
        await stream(*({**one, **own} if isinstance(one, dict) else one for one in (*events, *after)))(call)

    return behave


def play(lane: Lane, kind: str, *behaviours: Behaviour) -> list[str]:
    """Let the replicas of a model do this, in the order in which they are asked; return who was asked."""
    asked: list[str] = []
    left = list(behaviours)

    async def behave(call: Call) -> None:
        asked.append(call.site)
        await left.pop(0)(call)

    for replica in ("a", "b"):
        lane.site(kind, replica).always(behave)
    return asked


def whole_of(lane: Lane, kind: str, **fields: Any) -> dict[str, Any]:
    """Ask for a stream and return the one answer that it is."""
    transcript = lane.stream(kind, stream_options={"include_usage": True}, **fields).transcript
    assert transcript.error is None
    assert transcript.done
    return assembled(json.dumps(event).encode() for event in transcript.events) | {"summary": transcript.summary}


BREAKS: dict[str, Sequence[Any]] = {
    "cut": (CUT,),
    "reset": (Pause(0.05), RESET),
    "ends without finish_reason": (b": bye\n\n",),
    "done without finish_reason": (DONE,),
    "cut inside an event": (b'data: {"id": "chatcmpl-1", "choi', CUT),
    "cut inside a character": (b'data: {"choices":[{"index":0,"delta":{"content":"\xf0\x9f', CUT),
    "not json": (b"data: {oops\n\n",),
    "an error event": ({"error": {"message": "EngineDeadError", "code": 500}}, DONE),
    "aborted": (finished("abort"), DONE),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_the_other_replica_goes_on(lane: Lane, kind: str) -> None:
    asked = play(lane, "pair", says(TEXT, *BREAKS[kind], pieces=5), says(TEXT))
    got = whole_of(lane, "auto", max_tokens=50)
    assert (got["content"], got["finish"], got["roles"]) == (TEXT, ["stop"], 1)
    tokens = len(pieces_of(TEXT))
    assert got["usages"] == [usage_of(PROMPT_TOKENS, tokens)]
    broken, other = asked
    assert broken != other
    assert got["summary"]["model"] == lane.name("pair")
    assert len(got["summary"]["continued_by"]) == 1
    assert got["summary"]["attempts"] == 2
    assert lane.llm.calls == []
    lane.expect_of(1, "continuations_total", model=lane.name("pair"), outcome="continued")
    lane.expect(1, "requests_total", model=lane.name("pair"), outcome="ok")


@pytest.mark.parametrize("stall", [(HANG,), (Forever(b": ping\n\n", Pause(0.05)),)], ids=["silent", "only comments"])
def test_a_silent_replica_is_left(lane: Lane, stall: Sequence[Any]) -> None:
    asked = play(lane, "idle", says(TEXT, *stall, pieces=3), says(TEXT))
    assert whole_of(lane, "idle")["content"] == TEXT
    lane.site("idle", asked[0][-1]).last.wait_closed()


@pytest.mark.parametrize("pieces", range(1, len(PIECES) + 1))
def test_any_cut_of_a_text(lane: Lane, pieces: int) -> None:
    play(lane, "pair", says(TEXT, CUT, pieces=pieces), says(TEXT))
    got = whole_of(lane, "auto")
    assert (got["content"], got["finish"]) == (TEXT, ["stop"])


@pytest.mark.parametrize("pieces", range(1, len(pieces_of(JSON)) + 1))
def test_any_cut_of_a_format(lane: Lane, pieces: int) -> None:
    play(lane, "pair", says(JSON, CUT, pieces=pieces), says(JSON))
    got = whole_of(lane, "auto", response_format=FORMAT)
    assert (got["content"], got["finish"]) == (JSON, ["stop"])
    assert got["usages"] == [usage_of(PROMPT_TOKENS, len(pieces_of(JSON)))]
    assert got["summary"]["structured"] == "decoded"


def test_text_completions_go_on(lane: Lane) -> None:
    play(lane, "pair", says(TEXT, CUT, pieces=3), says(TEXT))
    reply = lane.complete("auto", prompt="Tell: ", stream=True)
    events = [line.removeprefix("data: ") for line in reply.response.text.split("\n\n") if line.startswith("data: {")]
    assert assembled(event.encode() for event in events)["content"] == TEXT
    assert reply.response.text.endswith("data: [DONE]\n\n")


def test_the_next_rung_goes_on(lane: Lane) -> None:
    lane.slm.then(says(TEXT, CUT, pieces=5))
    lane.site("prefill").then(says(TEXT))
    got = whole_of(lane, "up")
    assert (got["content"], got["finish"]) == (TEXT, ["stop"])
    assert got["summary"]["model"] == lane.name("slm")
    assert got["summary"]["continued_by"][0].startswith(lane.name("prefill"))
    assert float(got["summary"]["cost_usd"]) > 0
    lane.expect(1, "escalations_total", route="up", reason="upstream_error")


def test_a_replay_that_differs_is_an_error_event(lane: Lane) -> None:
    play(lane, "pair", says(JSON, CUT, pieces=3), says('{"name": "Jane"}'))
    transcript = lane.stream("auto", response_format=FORMAT).transcript
    assert transcript.text == JSON[:12]
    assert transcript.error is not None
    assert transcript.error["code"] == "upstream_error"
    assert not transcript.done
    assert transcript.finish_reasons == []
    lane.expect_of(1, "continuations_total", model=lane.name("pair"), outcome="diverged")


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "switched off": {"routing": {"midstream": "error"}},
    "several answers": {"n": 2},
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_what_cannot_go_on_is_an_error_event(lane: Lane, kind: str) -> None:
    asked = play(lane, "pair", says(TEXT, CUT, pieces=3), says(TEXT))
    transcript = lane.stream("auto", **IMPOSSIBLE[kind]).transcript
    assert transcript.text == TEXT[:12]
    assert transcript.error is not None
    assert not transcript.done
    assert len(asked) == 1


def test_calls_under_way_in_a_free_answer_are_an_error_event(lane: Lane) -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "get", "arguments": '{"a'}}
    asked = play(lane, "pair", stream(first(), delta("Well."), delta(tool_calls=[call]), CUT))
    transcript = lane.stream("auto").transcript
    assert transcript.error is not None
    assert not transcript.done
    assert len(asked) == 1


def test_both_replicas_die(lane: Lane) -> None:
    play(lane, "pair", says(TEXT, CUT, pieces=3), says(TEXT, CUT, pieces=2))
    transcript = lane.stream("auto").transcript
    assert transcript.text == TEXT[:20]
    assert transcript.error is not None
    assert not transcript.done


def test_a_replica_that_dies_after_one_that_differed_is_followed_by_the_next_rung(lane: Lane) -> None:
    play(lane, "pair", says(TEXT, CUT, pieces=3), says("Twice"), says(TEXT, CUT, pieces=2))
    lane.site("prefill").then(says(TEXT))
    got = whole_of(lane, "down", temperature=0)
    assert (got["content"], got["finish"]) == (TEXT, ["stop"])


def test_the_other_replica_does_not_take_it(lane: Lane) -> None:
    play(lane, "pair", says(TEXT, CUT, pieces=3), error(500))
    transcript = lane.stream("auto").transcript
    assert transcript.error is not None
    assert "cut off" in transcript.error["message"]
    assert not transcript.done


def test_a_client_that_leaves_while_another_replica_begins_frees_it(lane: Lane) -> None:
    gate = Gate()
    asked = play(lane, "pair", says(TEXT, gate, CUT, pieces=3), stream(HANG))
    with Caller(lane.gateway, lane.body("auto", stream=True)) as caller:
        caller.read_until(PIECES[2].encode())
        gate.set()
        other = lane.site("pair", "b" if asked[0].endswith("a") else "a")
        [call] = other.wait_for_calls(1)
    call.wait_closed()


def test_a_stream_that_does_not_break_is_as_it_was(lane: Lane) -> None:
    play(lane, "pair", answer(pieces=PIECES))
    transcript = lane.stream("auto").transcript
    assert transcript.text == TEXT
    assert "continued_by" not in transcript.summary
