"""What upstreams say in their own way reaches the client in OpenAI's, whole and streamed."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.support.behaviours import Behaviour, Gate, answer, respond, stream
from tests.support.caller import Caller
from tests.support.lanes import Lane, Plan, Streamed, usual
from tests.support.stream_events import DONE, chunk, delta, finished, first, usage_event, usage_of

NANO = Decimal("0.000000001")
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": ["a"]}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def describe(plan: Plan) -> None:
    usual(plan)
    plan.route("sure", "slm", "llm", policy="cascade", min_confidence=0.9)


both = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def says(finish: Any = "stop", *, usage: Any = None, **message: Any) -> tuple[Behaviour, Behaviour]:
    """An upstream that says this, whole and streamed."""
    usage = usage or usage_of(10, 2)
    content = {"role": "assistant", "content": None, "refusal": None} | message
    choice = {"index": 0, "message": content, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return respond(200, body | {"usage": usage}), stream(
        first(), delta(**message), finished(finish), usage_event(usage), DONE
    )


def asked(lane: Lane, streamed: bool, kind: str = "auto", **fields: Any) -> tuple[Any, dict[str, Any], str | None]:
    """Return the answer, its message put together, and the reason of its end."""
    if not streamed:
        reply = lane.chat(kind, **fields)
        assert reply.status == 200, reply.response.text
        [choice] = reply.json["choices"]
        return reply, choice["message"], choice["finish_reason"]
    reply = lane.stream(kind, **fields)
    assert reply.status == 200, reply.response.text
    assert reply.transcript.done, reply.transcript.error
    message: dict[str, Any] = {}
    for event in reply.transcript.events:
        for choice in event["choices"]:
            for name, value in choice["delta"].items():
                message[name] = message.get(name, "") + value if isinstance(value, str) else value
    return reply, message, reply.transcript.finish_reasons[-1]


@both
@pytest.mark.parametrize("finish", ["stop", "length"])
@pytest.mark.parametrize(
    ("said", "reason"),
    [({"reasoning": "Hm."}, "only_thoughts"), ({"content": " \n"}, "empty")],
    ids=["thoughts", "blank"],
)
def test_an_answer_without_a_visible_character_is_none(
    lane: Lane, said: dict[str, Any], reason: str, finish: str, streamed: bool
) -> None:
    lane.slm.then(says(finish, **said)[streamed])
    reply, message, _ = asked(lane, streamed)
    lane.assert_escalated(reply, reason)
    assert message["content"] == "Paris."
    lane.expect(1, "escalations_total", reason=reason)


@both
def test_more_room_is_tried_first_where_the_clients_limit_cut_the_thoughts(lane: Lane, streamed: bool) -> None:
    lane.slm.then(says("length", reasoning="Hm.")[streamed])
    reply, message, _ = asked(lane, streamed, max_tokens=64)
    assert (message["content"], reply.said("model"), reply.said("attempts")) == ("Paris.", lane.name("slm"), "2")
    assert [call.json["max_tokens"] for call in lane.slm.calls] == [64, 256]
    assert reply.said("adapted") == "max_tokens=256"


@both
def test_an_empty_answer_is_better_than_an_error(lane: Lane, streamed: bool) -> None:
    lane.slm.always(says(reasoning="Hm.")[streamed])
    reply, message, finish = asked(lane, streamed, "slm")
    assert (message["reasoning_content"], message.get("content") or "", finish) == ("Hm.", "", "stop")
    said = reply.transcript.summary["reason"] if streamed else reply.said("reason")
    assert said == "unsure: only_thoughts"


@both
def test_a_cascade_does_not_take_thoughts_for_an_answer(lane: Lane, streamed: bool) -> None:
    sure = {"content": [{"token": "Hm.", "logprob": -0.000001, "bytes": None, "top_logprobs": []}]}
    choice = {"index": 0, "logprobs": sure, "finish_reason": "stop"}
    whole = respond(
        200, {"choices": [choice | {"message": {"content": None, "reasoning": "Hm."}}], "usage": usage_of(1, 1)}
    )
    events = stream(first(), chunk([choice | {"delta": {"reasoning": "Hm."}, "finish_reason": None}]), finished(), DONE)
    lane.slm.then(events if streamed else whole)
    reply, message, _ = asked(lane, streamed, "sure")
    lane.assert_escalated(reply, "only_thoughts")
    assert message["content"] == "Paris."
    assert "x-smallfirst-confidence" not in reply.headers


def test_thoughts_are_sent_live_where_no_other_model_can_answer(lane: Lane) -> None:
    gate = Gate()
    lane.slm.then(stream(first(), delta(reasoning="Hm."), gate, delta("Paris."), finished(), DONE))
    with Caller(lane.gateway, lane.body("slm", stream=True)) as caller:
        assert b'"reasoning_content":"Hm."' in caller.read_until(b'"Hm."')
        gate.set()
        caller.read_until(b"[DONE]")


@both
@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("end_turn", "stop"),
        ("eos_token", "stop"),
        ("STOP", "stop"),
        ("stop_sequence", "stop"),
        ("never heard of", "stop"),
        ("MAX_TOKENS", "length"),
        ("model_context_window_exceeded", "length"),
        ("SAFETY", "content_filter"),
        ("recitation", "content_filter"),
    ],
)
def test_the_end_is_one_of_openais_five_words(lane: Lane, word: str, meant: str, streamed: bool) -> None:
    lane.slm.then(says(word, content="Paris.")[streamed])
    reply, message, finish = asked(lane, streamed)
    assert (message["content"], finish, reply.said("model")) == ("Paris.", meant, lane.name("slm"))


@both
@pytest.mark.parametrize("word", ["tool_use", "eos_token", "stop_sequence"])
def test_the_end_with_calls(lane: Lane, word: str, streamed: bool) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    lane.slm.then(says(word, tool_calls=[call | ({"index": 0} if streamed else {})])[streamed])
    _, message, finish = asked(lane, streamed, tools=[TOOL])
    assert (message["tool_calls"][0]["id"], finish) == ("a", "tool_calls")


@both
@pytest.mark.parametrize("word", ["error", "abort", "Error"])
def test_an_upstream_that_gave_up_is_a_failure(lane: Lane, word: str, streamed: bool) -> None:
    whole, _ = says(word, content="Par")
    lane.slm.then(stream(first(), finished(word), DONE) if streamed else whole)
    reply, message, _ = asked(lane, streamed)
    lane.assert_escalated(reply, "upstream_error")
    assert message["content"] == "Paris."


@pytest.mark.parametrize("word", ["error", "abort"])
def test_after_the_first_byte_it_is_an_error_event(lane: Lane, word: str) -> None:
    lane.slm.then(stream(first(), delta("Par"), finished(word), DONE))
    transcript = lane.stream().transcript
    assert (transcript.text, transcript.done, transcript.finish_reasons) == ("Par", False, [])
    assert transcript.error is not None


ERRORS: dict[str, tuple[Any, str]] = {
    "number": ({"error": {"code": 429, "message": "slow down"}}, "overloaded"),
    "number as text": ({"error": {"code": "429", "message": "slow down"}}, "overloaded"),
    "word": ({"error": {"code": "rate_limit_exceeded", "message": "slow down"}}, "overloaded"),
    "no choices": ({"choices": None, "error": {"code": 503, "message": "slow down"}}, "overloaded"),
    "in a choice": (
        {"choices": [{"index": 0, "error": {"code": 502, "message": "slow down"}, "finish_reason": "error"}]},
        "upstream_error",
    ),
    "account": ({"error": {"code": 402, "message": "slow down"}}, "misconfigured"),
    "quota": ({"error": {"code": "insufficient_quota", "message": "slow down"}}, "misconfigured"),
    "key": ({"error": {"code": "invalid_api_key", "message": "slow down"}}, "misconfigured"),
    "without the key error": ({"code": 429, "message": "slow down"}, "overloaded"),
    "object": ({"object": "error", "message": "slow down", "type": "InternalServerError"}, "upstream_error"),
    "detail": ({"detail": "slow down"}, "upstream_error"),
    "null": ({"choices": None}, "upstream_error"),
}


@both
@pytest.mark.parametrize("case", ERRORS)
def test_an_error_inside_a_200_goes_to_the_next_rung(lane: Lane, case: str, streamed: bool) -> None:
    error, reason = ERRORS[case]
    lane.slm.then(stream(first(), error, DONE) if streamed else respond(200, error))
    reply, message, _ = asked(lane, streamed)
    lane.assert_escalated(reply, reason)
    assert message["content"] == "Paris."


@both
def test_its_text_is_told_where_nobody_else_can_answer(lane: Lane, streamed: bool) -> None:
    error = {"error": {"code": 429, "message": "slow down, please"}}
    lane.slm.always(stream(error, DONE) if streamed else respond(200, error))
    reply = lane.stream("slm") if streamed else lane.chat("slm")
    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    assert "slow down, please" in reply.error["message"]
    assert float(reply.headers["retry-after"]) > 0


@pytest.mark.parametrize("last", [[], [DONE]], ids=["the end", "DONE"])
@pytest.mark.parametrize(
    "error",
    [
        {"code": 500, "message": "out of memory"},
        {"detail": "out of memory"},
        {"object": "error", "message": "out of memory"},
    ],
)
def test_after_the_first_byte_an_error_of_any_form_ends_the_stream(lane: Lane, error: Any, last: list[bytes]) -> None:
    lane.slm.then(stream(first(), delta("Par"), error, *last))
    transcript = lane.stream().transcript
    assert (transcript.text, transcript.done) == ("Par", False)
    assert transcript.error is not None
    assert "out of memory" in transcript.error["message"]


@both
@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thoughts_have_one_name(lane: Lane, name: str, streamed: bool) -> None:
    lane.slm.then(says(content="Paris.", **{name: "Hm."})[streamed])
    _, message, _ = asked(lane, streamed)
    assert (message["content"], message["reasoning_content"]) == ("Paris.", "Hm.")
    assert "reasoning" not in message


@both
def test_thoughts_in_the_content_are_moved(lane: Lane, streamed: bool) -> None:
    lane.slm.then(says(content="<think>\nHm.\n</think>\n\nParis.")[streamed])
    _, message, _ = asked(lane, streamed)
    assert (message["content"], message["reasoning_content"].strip()) == ("Paris.", "Hm.")


@both
def test_a_lone_end_tag_ends_the_thoughts(lane: Lane, streamed: bool) -> None:
    """A stream learns it of the model's first answer: what has left cannot be moved."""
    lane.slm.then(says(content="Hm.\n</think>\n\nParis.")[0])
    lane.slm.then(stream(first(), delta("Hm.\n"), delta("</think>"), delta("\n\n"), delta("Paris."), finished(), DONE))
    for is_stream in (False, True)[: 1 + streamed]:
        _, message, _ = asked(lane, is_stream)
        assert (message["content"], message["reasoning_content"].strip()) == ("Paris.", "Hm.")


@both
def test_json_in_the_thoughts_is_moved_to_the_content(lane: Lane, streamed: bool) -> None:
    lane.slm.then(says(reasoning='{"a": 1}')[streamed])
    reply, message, _ = asked(lane, streamed, response_format=FORM)
    assert json.loads(message["content"]) == {"a": 1}
    assert "reasoning_content" not in message
    assert reply.said("model") == lane.name("slm")


@both
def test_a_stop_text_within_the_thoughts_is_no_answer(lane: Lane, streamed: bool) -> None:
    lane.slm.then(says("stop", reasoning="Let me see:")[streamed])
    reply, message, _ = asked(lane, streamed, stop=["\n"])
    lane.assert_escalated(reply, "only_thoughts")
    assert message["content"] == "Paris."


@both
def test_fields_of_a_repaired_answer_are_kept(lane: Lane, streamed: bool) -> None:
    more = {
        "annotations": [{"type": "url_citation"}],
        "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}],
        "extra_content": {"google": {"thought_signature": "S"}},
        "thought_signature": "T",
    }
    lane.slm.then(says(content='```json\n{"a": 1}\n```', **more)[streamed])
    _, message, _ = asked(lane, streamed, response_format=FORM)
    assert json.loads(message["content"]) == {"a": 1}
    assert {name: message[name] for name in more} == more


@both
def test_fields_of_a_repaired_call_are_kept(lane: Lane, streamed: bool) -> None:
    signature = {"google": {"thought_signature": "S"}}
    call = {"id": "a", "type": "function", "extra_content": signature, "function": {"name": "f", "arguments": {"x": 1}}}
    lane.slm.then(says("tool_calls", tool_calls=[call | ({"index": 0} if streamed else {})])[streamed])
    _, message, _ = asked(lane, streamed, tools=[TOOL])
    [made] = message["tool_calls"]
    assert (made["extra_content"], made["function"]["arguments"]) == (signature, '{"x":1}')


@both
def test_lists_and_names_without_a_value_are_left_out(lane: Lane, streamed: bool) -> None:
    lane.slm.then(says(content="Paris.", tool_calls=[], function_call=None, audio=None, reasoning=None)[streamed])
    _, message, _ = asked(lane, streamed)
    assert {name: value for name, value in message.items() if name != "refusal"} == {
        "role": "assistant",
        "content": "Paris.",
    }


@both
def test_what_clients_read_is_there(lane: Lane, streamed: bool) -> None:
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "usage": usage_of(1, 1)}
    body["choices"] = [{"index": 0, "message": {"content": "Paris."}, "finish_reason": "stop"}]
    lane.slm.then(answer("Paris.") if streamed else respond(200, body))
    _, message, _ = asked(lane, streamed)
    assert message["role"] == "assistant"
    assert streamed or message["refusal"] is None


@both
@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}, 10 * 400 + 105 * 1600),
        (
            usage_of(10, 5) | {"total_tokens": 115, "completion_tokens_details": {"reasoning_tokens": 100}},
            10 * 400 + 105 * 1600,
        ),
        (usage_of(1000, 5) | {"prompt_cache_hit_tokens": 400}, 600 * 400 + 400 * 100 + 5 * 1600),
        (usage_of(1000, 5) | {"cache_read_input_tokens": 400}, 600 * 400 + 400 * 100 + 5 * 1600),
    ],
    ids=["thoughts outside", "thoughts outside, detailed", "DeepSeek", "Anthropic"],
)
def test_usage_is_paid_as_meant_and_told_as_it_came(
    lane: Lane, usage: dict[str, Any], cost: int, streamed: bool
) -> None:
    lane.llm.then(says(content="Paris.", usage=usage)[streamed])
    options = {"stream_options": {"include_usage": True}} if streamed else {}
    reply, _, _ = asked(lane, streamed, "llm", **options)
    if isinstance(reply, Streamed):
        assert reply.transcript.usages == [usage]
        assert Decimal(reply.transcript.summary["cost_usd"]) == cost * NANO
    else:
        assert reply.json["usage"] == usage
        assert reply.dollars("cost-usd") == cost * NANO


def fragment(arguments: str, **fields: Any) -> dict[str, Any]:
    name = {"name": fields.pop("name")} if "name" in fields else {}
    return delta(tool_calls=[fields | {"function": {"arguments": arguments} | name}])


@pytest.mark.parametrize(
    "fragments",
    [
        [fragment("{", id="a", name="f"), fragment("}"), fragment("{}", id="b", name="f")],
        [fragment("{", index=1, id="a", name="f"), fragment("}", index=1), fragment("{}", index=2, id="b", name="f")],
        [fragment("{", index=0, id="a", name="f"), fragment("}", index=0, id="a", name="f"),
         fragment("{}", index=1, id="b", name="f", type="function")],
        [fragment("{}", index=0, id="a", name="f"), fragment("{}", index=0, id="b", name="f")],
    ],
    ids=["no index", "from 1", "repeated", "always 0"],
)  # fmt: skip
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_fragments_of_calls_are_numbered_from_0_and_named_once(
    lane: Lane, fragments: list[dict[str, Any]], choice: str
) -> None:
    lane.slm.then(stream(first(), *fragments, finished("tool_calls"), DONE))
    events = lane.stream(tools=[TOOL], tool_choice=choice).transcript.events
    parts = [call for event in events for call in event["choices"][0]["delta"].get("tool_calls", ())]
    assert [part["id"] for part in parts if "id" in part] == ["a", "b"]
    assert [part["function"]["name"] for part in parts if "name" in part["function"]] == ["f", "f"]
    for number in (0, 1):
        own = [part for part in parts if part["index"] == number]
        assert "".join(part["function"].get("arguments", "") for part in own) == "{}"
    assert {part["index"] for part in parts} == {0, 1}
