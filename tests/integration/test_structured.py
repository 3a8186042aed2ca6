"""Every structured answer is checked before it leaves; an invalid one never reaches the client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.support.behaviours import CUT, Gate, answer, respond, stream
from tests.support.caller import Caller
from tests.support.lanes import UPSTREAM_MODEL, Lane, Plan, usual
from tests.support.stream_events import DONE, delta, finished, first
from tests.support.waiting import PATIENCE_S


def describe(plan: Plan) -> None:
    usual(plan)
    plan.route("alone", "slm")
    plan.slm("pair", replicas=2)


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
PERSON = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
OBJECT = {"type": "json_object"}
VALID = '{"name": "José 漢", "age": 42}'

INVALID = {
    "wrong type": '{"name": "a", "age": "42"}',
    "missing": '{"name": "a"}',
    "additional": '{"name": "a", "age": 1, "x": 2}',
    "out of range": '{"name": "a", "age": -1}',
    "not json": "I am sorry, here is the JSON: {",
    "two values": VALID + VALID,
    "duplicate key": '{"name": "a", "age": 1, "age": 2}',
    "nan": '{"name": "a", "age": NaN}',
    "empty": "",
    "raw control character": '{"name": "a\nb", "age": 1}',
}


REPAIRABLE = {
    "fenced": f"```json\n{VALID}\n```",
    "text around": f"Sure: {VALID} Hope this helps!",
    "byte order mark": "\ufeff" + VALID,
    "thoughts": f"<think>Who?</think>{VALID}",
}


def expect_verdicts(lane: Lane, count: int, word: str) -> None:
    lane.expect_of(count, "structured_verdicts_total", model=lane.name("slm"), verdict=word)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_valid_answer_passes(lane: Lane, streamed: bool) -> None:
    lane.slm.always(answer(VALID, pieces=[VALID[:9], VALID[9:]]))
    reply = lane.stream(response_format=PERSON) if streamed else lane.chat(response_format=PERSON)
    assert reply.status == 200
    assert (reply.transcript.text if streamed else reply.text) == VALID
    assert (reply.said("structured"), reply.said("attempts")) == ("decoded", "1")
    assert lane.slm.last.json["response_format"] == PERSON, "the engine gets the format to constrain the tokens"
    expect_verdicts(lane, 1, "valid")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", REPAIRABLE)
def test_what_is_only_wrapped_is_unwrapped(lane: Lane, kind: str, streamed: bool) -> None:
    lane.slm.always(answer(REPAIRABLE[kind]))
    reply = lane.stream(response_format=PERSON) if streamed else lane.chat(response_format=PERSON)
    assert (reply.status, reply.said("structured"), reply.said("attempts")) == (200, "repaired", "1")
    assert (reply.transcript.text if streamed else reply.text) == VALID
    expect_verdicts(lane, 1, "repaired")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", INVALID)
def test_twice_invalid_escalates(lane: Lane, kind: str, streamed: bool) -> None:
    lane.slm.always(answer(INVALID[kind]))
    lane.llm.then(answer(VALID))
    reply = lane.stream(response_format=PERSON) if streamed else lane.chat(response_format=PERSON)
    assert reply.status == 200
    assert (reply.transcript.text if streamed else reply.text) == VALID
    assert reply.said("model") == lane.name("llm")
    assert (reply.said("reason"), reply.said("structured"), reply.said("attempts")) == ("structured", "escalated", "3")
    assert (len(lane.slm.calls), len(lane.llm.calls)) == (2, 1)
    assert lane.llm.last.json["model"] == UPSTREAM_MODEL
    lane.expect(1, "escalations_total", reason="structured")
    expect_verdicts(lane, 2, "invalid")
    if streamed:
        assert lane.llm.last.json["stream"] is True
        assert reply.transcript.done
        assert INVALID[kind] == "" or json.dumps(INVALID[kind], ensure_ascii=False) not in reply.response.text


@pytest.mark.parametrize("streamed", [False, True])
def test_once_invalid_is_tried_again(lane: Lane, streamed: bool) -> None:
    lane.slm.then(answer(INVALID["missing"]), answer(VALID))
    reply = lane.stream(response_format=PERSON) if streamed else lane.chat(response_format=PERSON)
    assert reply.status == 200
    assert (reply.said("model"), reply.said("structured")) == (lane.name("slm"), "retried")
    assert (len(lane.slm.calls), len(lane.llm.calls)) == (2, 0)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", ["alone", "slm"])
def test_nobody_can_is_a_clear_502(lane: Lane, model: str, streamed: bool) -> None:
    lane.slm.always(answer(INVALID["wrong type"]))
    reply = lane.stream(model, response_format=PERSON) if streamed else lane.chat(model, response_format=PERSON)
    assert reply.status == 502
    assert reply.error["code"] == "structured_output_violation"
    assert "/age" in reply.error["message"], "says where it is wrong"
    assert reply.headers["x-should-retry"] == "false", "an SDK's own retries would pay for the same again"
    assert len(lane.slm.calls) == 2
    lane.expect(1, "requests_total", route=model, outcome="structured_violation")


def test_all_rungs_invalid(lane: Lane) -> None:
    for site in (lane.slm, lane.llm):
        site.always(answer(INVALID["missing"]))
    reply = lane.chat(response_format=PERSON)
    assert (reply.status, reply.error["code"]) == (502, "structured_output_violation")
    assert (len(lane.slm.calls), len(lane.llm.calls)) == (2, 2)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_truncated_answer_says_so_itself(lane: Lane, streamed: bool) -> None:
    lane.slm.always(answer('{"name": "Jo', finish="length"))
    fields = {"response_format": PERSON, "max_tokens": 5}
    reply = lane.stream(**fields) if streamed else lane.chat(**fields)
    assert reply.status == 200
    reasons = reply.transcript.finish_reasons if streamed else [reply.json["choices"][0]["finish_reason"]]
    assert reasons == ["length"]
    assert len(lane.slm.calls) == 1
    expect_verdicts(lane, 1, "truncated")


def test_a_refusal_is_an_answer(lane: Lane) -> None:
    lane.slm.then(answer(None, message={"content": None, "refusal": "I cannot help with that."}))
    reply = lane.chat(response_format=PERSON)
    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["refusal"] == "I cannot help with that."
    assert len(lane.slm.calls) == 1


def test_a_streamed_refusal_is_an_answer(lane: Lane) -> None:
    lane.slm.then(stream(first(), delta(refusal="I cannot."), finished(), DONE))
    streamed = lane.stream(response_format=PERSON)
    assert streamed.transcript.events[1]["choices"][0]["delta"]["refusal"] == "I cannot."
    assert streamed.transcript.done


def test_a_streamed_answer_is_held_back_until_it_is_verified(lane: Lane) -> None:
    gate = Gate()
    lane.slm.then(stream(first(), *(delta(c) for c in VALID), gate, finished(), DONE))
    with Caller(lane.gateway, lane.body(stream=True, response_format=PERSON)) as caller:
        lane.slm.wait_for_calls(1)
        caller.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            caller.socket.recv(1)
        gate.set()
        caller.socket.settimeout(PATIENCE_S)
        caller.read_until(b"data: [DONE]")


def test_held_back_events_come_as_they_were(lane: Lane) -> None:
    events = [first(), *(delta(c) for c in VALID), finished()]
    lane.slm.then(stream(*events, DONE))
    assert lane.stream(response_format=PERSON).transcript.events == events


def test_a_held_back_stream_that_breaks_escalates_unseen(lane: Lane) -> None:
    lane.slm.always(stream(first(), delta(VALID[:10]), CUT))
    lane.llm.then(answer(VALID))
    streamed = lane.stream(response_format=PERSON)
    assert streamed.transcript.text == VALID
    assert streamed.said("reason") == "upstream_error"


def test_free_text_is_not_held_back_by_a_text_format(lane: Lane) -> None:
    gate = Gate()
    lane.slm.then(stream(first(), delta("free"), gate, finished(), DONE))
    with Caller(lane.gateway, lane.body(stream=True, response_format={"type": "text"})) as caller:
        caller.read_until(b'"free"')
        gate.set()
        caller.read_until(b"[DONE]")


@pytest.mark.parametrize("text", ["[1]", '"text"', "17", "null", "{", "", "{'a': 1}"])
def test_json_object_wants_an_object(lane: Lane, text: str) -> None:
    lane.slm.always(answer(text))
    lane.llm.then(answer("{}"))
    assert lane.chat(response_format=OBJECT).said("structured") == "escalated"


def test_json_object_with_any_object(lane: Lane) -> None:
    lane.slm.then(answer('{"b": [1.5e3, "\\ud83d\\ude00", null]}'))
    assert lane.chat(response_format=OBJECT).said("structured") == "decoded"


def test_every_choice_is_checked(lane: Lane) -> None:
    whole: dict[str, Any] = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    whole["choices"] = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for i, text in enumerate([VALID, INVALID["missing"]])
    ]

    lane.slm.always(respond(200, whole))
    reply = lane.chat("alone", n=2, response_format=PERSON)
    assert (reply.status, reply.error["code"]) == (502, "structured_output_violation")


def test_a_tool_call_beside_a_format_is_no_violation(lane: Lane) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    lane.slm.then(answer(None, message={"tool_calls": [call]}, finish="tool_calls"))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    reply = lane.chat(response_format=PERSON, tools=tools)
    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["tool_calls"] == [call]


def test_the_retry_may_go_to_the_other_replica(lane: Lane) -> None:
    for replica in ("a", "b"):
        lane.site("pair", replica).always(answer(INVALID["missing"]))
    assert lane.chat("pair", response_format=PERSON).status == 502
    assert sum(len(lane.site("pair", replica).calls) for replica in ("a", "b")) == 2


BAD_SCHEMAS: dict[str, object] = {
    "no type": {"schema": SCHEMA},
    "unknown type": {"type": "yaml"},
    "no json_schema": {"type": "json_schema"},
    "no schema": {"type": "json_schema", "json_schema": {"name": "x"}},
    "schema is a list": {"type": "json_schema", "json_schema": {"name": "x", "schema": []}},
    "not a type": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "objekt"}}},
    "properties is a list": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": [1]}}},
    "bad pattern": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "("}}},
    "ref to nothing": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/$defs/gone"}}},
    "ref outside": {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"$ref": "http://127.0.0.1:9/schema.json"}},
    },
    "ref to a file": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "file:///etc/passwd"}}},
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", BAD_SCHEMAS)
def test_a_bad_schema_is_a_400_and_nobody_is_asked(lane: Lane, kind: str, streamed: bool) -> None:
    fields = {"response_format": BAD_SCHEMAS[kind]}
    reply = lane.stream(**fields) if streamed else lane.chat(**fields)
    assert reply.status == 400
    assert (reply.error["param"] or "").startswith("response_format")
    assert reply.error["type"] == "invalid_request_error"
    assert lane.slm.calls == []
    assert lane.llm.calls == []


def test_an_exploding_schema_does_not_stop_the_others(lane: Lane) -> None:
    definitions: dict[str, Any] = {"d0": {"type": "integer"}}
    for i in range(1, 30):
        definitions[f"d{i}"] = {"allOf": [{"$ref": f"#/$defs/d{i - 1}"}, {"$ref": f"#/$defs/d{i - 1}"}]}
    schema = {"$ref": "#/$defs/d29", "$defs": definitions}
    bomb = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert lane.chat(response_format=bomb).status in (200, 400)


UNENFORCEABLE = "The provided JSON schema contains features not supported by xgrammar."


@pytest.mark.parametrize("how", ["status", "first event"])
def test_a_schema_that_the_engine_cannot_enforce_goes_to_the_rung_above(lane: Lane, how: str) -> None:
    refusal = {"error": {"message": UNENFORCEABLE, "type": "BadRequestError", "param": None, "code": 400}}
    lane.slm.always(respond(400, refusal) if how == "status" else stream(refusal, DONE))
    lane.llm.always(answer(VALID))
    streamed = how == "first event"
    for model in ("auto", "alone"):
        reply = lane.stream(model, response_format=PERSON) if streamed else lane.chat(model, response_format=PERSON)
        if model == "auto":
            assert (reply.status, reply.said("reason")) == (200, "ability")
        else:
            assert reply.status == 400
            assert "not supported" in reply.error["message"]


class Person(BaseModel):
    name: str
    age: int


def test_the_sdk_parses(lane: Lane) -> None:
    lane.slm.always(answer(VALID))
    with OpenAI(base_url=f"{lane.gateway.url}/v1", api_key="none", max_retries=0) as client:
        parsed = client.chat.completions.parse(
            model=lane.name("auto"), messages=[{"role": "user", "content": "who?"}], response_format=Person
        )
    assert parsed.choices[0].message.parsed == Person(name="José 漢", age=42)


def test_the_sdks_stream_helper_parses(lane: Lane) -> None:
    lane.slm.always(answer(pieces=[VALID[i : i + 3] for i in range(0, len(VALID), 3)]))
    with OpenAI(base_url=f"{lane.gateway.url}/v1", api_key="none", max_retries=0) as client:
        helper = client.chat.completions.stream(
            model=lane.name("auto"), messages=[{"role": "user", "content": "who?"}], response_format=Person
        )
        with helper as events:
            kinds = [event.type for event in events]
            final = events.get_final_completion()
    assert "content.done" in kinds
    assert final.choices[0].message.parsed == Person(name="José 漢", age=42)
