"""What becomes of an answer that does not end and was stopped: it is asked again, or the next rung is asked."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from router.errors import Runaway, StructuredOutputViolation
from router.structured.contract import LONG_ANSWER_TOKENS
from tests.support.confidence import SURE, gateway, said
from tests.support.endless import USAGE, body_of, content, endless, streamed
from tests.support.failing import AS_PERSON, GOOD, PERSON
from tests.support.fakes import (
    DONE,
    ROLE,
    FakeExchange,
    answers,
    call,
    chunk,
    large,
    model,
    refuses,
    streams,
    usage_of,
    whole,
)
from tests.support.inprocess import Dispatching

TOOL = {"type": "function", "function": {"name": "f", "parameters": PERSON}}
LIST = {"type": "json_schema", "json_schema": {"name": "l", "schema": {"type": "array"}}}
REPEATED = '["' + "1.0.0/" * 200
STRICT = {"min_pattern_size": 16, "max_pattern_size": 31, "min_count": 32}
STOP = chunk(finish="stop")


def stopped(text: str = REPEATED) -> Any:
    """What vLLM answers when it stops a text that repeats itself."""
    return lambda: FakeExchange(body=whole(text, finish="repetition"))


# --- what vLLM is asked to stop


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"response_format": AS_PERSON}, STRICT),
        ({"structured_outputs": {"regex": "a+"}}, STRICT),
        ({"tools": [TOOL], "tool_choice": "required"}, STRICT),
        ({"response_format": AS_PERSON, "max_tokens": LONG_ANSWER_TOKENS + 1}, STRICT),
        ({"response_format": AS_PERSON, "repetition_detection": None}, STRICT),
        ({"response_format": AS_PERSON, "max_tokens": LONG_ANSWER_TOKENS}, None),
        ({"response_format": AS_PERSON, "repetition_detection": {"max_pattern_size": 0}}, {"max_pattern_size": 0}),
        ({"response_format": AS_PERSON, "stream": True}, STRICT | {"min_count": 64}),  # we watch the stream, too
        ({"response_format": AS_PERSON, "stream": True, "max_tokens": 9}, None),
        ({"tools": [TOOL]}, STRICT | {"min_count": 512}),
        ({}, STRICT | {"min_count": 512}),
        ({"repetition_detection": {"max_pattern_size": 0}}, {"max_pattern_size": 0}),
        ({"max_tokens": 8192}, None),
        ({"max_tokens": 8193}, STRICT | {"min_count": 512}),
    ],
)
async def test_vllm_is_asked_to_stop_what_may_run_long(fields: dict[str, Any], expected: Any) -> None:
    gateway = Dispatching([model()], {"slm-0": [streamed(GOOD) if fields.get("stream") else answers(GOOD)]})
    one = call(**fields)
    with suppress(StructuredOutputViolation):  # the answer has none of these formats
        await gateway.ask(one)
    assert gateway.upstream.sent[0].body.get("repetition_detection") == expected


async def test_a_small_context_ends_a_free_text_anyway() -> None:
    gateway = Dispatching([model(context=8192)])
    await gateway.ask()
    assert "repetition_detection" not in gateway.upstream.sent[0].body


async def test_no_other_engine_gets_vllms_field() -> None:
    gateway = Dispatching([large()])
    await gateway.ask(repetition_detection={"max_pattern_size": 3, "min_count": 9})
    assert "repetition_detection" not in gateway.upstream.sent[0].body


# --- a whole answer under a format that vLLM stopped


async def test_it_is_asked_again_with_little_of_what_it_repeated() -> None:
    gateway = Dispatching(script={"slm-0": [stopped(), answers(GOOD)]})
    assert content(await gateway.ask(response_format=AS_PERSON)) == GOOD
    assert gateway.record.retries == [("slm", "runaway")]
    assert gateway.record.verdicts == [("slm", "json_schema", "invalid"), ("slm", "json_schema", "valid")]
    assert gateway.headers["structured"] == "retried"
    quote, correction = gateway.upstream.sent[1].body["messages"][-2:]
    assert quote["content"] == '["1.0.0/', "a model goes on with what its prompt repeats"
    assert "does not end" in correction["content"]
    assert gateway.upstream.sent[1].body["repetition_detection"] == STRICT
    assert gateway.pools["slm"].replicas[0].breaker.failures == 0


async def test_then_the_next_rung_is_asked() -> None:
    gateway = Dispatching(script={"slm-0": [stopped()], "llm-0": [answers(GOOD)]})
    await gateway.ask(response_format=AS_PERSON)
    assert gateway.steps == [("slm", "llm", "runaway")]
    assert gateway.tried == [("slm/0", "runaway")] * 2 + [("llm/0", "")]
    assert (gateway.headers["reason"], gateway.headers["structured"]) == ("runaway", "escalated")


async def test_the_last_one_ends_in_an_error() -> None:
    gateway = Dispatching([model()], {"slm-0": [stopped()]})
    error = await gateway.fails(Runaway, response_format=AS_PERSON)
    assert (error.status, error.code) == (502, "structured_output_violation")
    assert "does not end" in error.message


async def test_what_is_whole_all_the_same_is_an_answer() -> None:
    gateway = Dispatching([model()], {"slm-0": [stopped("[0, 0]")]})
    [only] = body_of(await gateway.ask(response_format=LIST))["choices"]
    assert (only["message"]["content"], only["finish_reason"]) == ("[0, 0]", "stop")


async def test_a_call_that_does_not_end_is_no_call() -> None:
    made = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"age": 1' + "1" * 900}}
    message = {"role": "assistant", "content": None, "tool_calls": [made]}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "repetition"}], "usage": usage_of(10, 5)}
    gateway = Dispatching(script={"slm-0": [lambda: FakeExchange(body=json.dumps(body).encode())]})
    await gateway.ask(tools=[TOOL])
    assert gateway.steps == [("slm", "llm", "runaway")]


ZEROS = json.dumps([0] * 2_000)


async def test_a_long_list_of_equal_numbers_is_asked_again_without_a_stop_and_watched() -> None:
    gateway = Dispatching([model()], {"slm-0": [stopped(ZEROS[:1500]), streamed(ZEROS)]})
    assert content(await gateway.ask(response_format=LIST)) == ZEROS
    first, second = (sent.body for sent in gateway.upstream.sent)
    assert second["messages"] == first["messages"], "nothing was wrong with it yet"
    assert second["stream"] is True
    assert second.get("repetition_detection") != STRICT
    assert gateway.record.retries == [("slm", "runaway")]


async def test_a_list_of_numbers_without_an_end_is_stopped_too() -> None:
    numbers = streams([[ROLE], [chunk("[0")], *[[chunk(", 0" * 10)]] * 10_000])
    gateway = Dispatching([model()], {"slm-0": [stopped(ZEROS[:1500]), numbers]})
    await gateway.fails(Runaway, response_format=LIST)
    assert len(gateway.upstream.exchanges[1].waits) < 1_000


# --- a free text that vLLM stopped


async def test_a_free_text_that_repeats_itself_goes_to_the_next_rung_at_once() -> None:
    gateway = Dispatching(script={"slm-0": [stopped("ha " * 9000)]})
    assert content(await gateway.ask()) == "Paris."
    assert gateway.steps == [("slm", "llm", "runaway")]
    assert gateway.tried == [("slm/0", "runaway"), ("llm/0", "")]
    assert gateway.record.verdicts == []
    gateway.all_is_released()


async def test_without_a_next_rung_it_is_an_answer_that_was_cut() -> None:
    gateway = Dispatching([model()], {"slm-0": [stopped("ha " * 9000)]})
    got = await gateway.ask()
    assert content(got) == "ha " * 9000
    assert body_of(got)["choices"][0]["finish_reason"] == "length"
    assert gateway.tried == [("slm/0", "")]


async def test_it_is_better_than_no_answer() -> None:
    gateway = Dispatching(script={"slm-0": [stopped("ha")], "llm-0": [refuses(500)]})
    assert body_of(await gateway.ask())["choices"][0]["finish_reason"] == "length"
    assert gateway.headers["model"] == "slm"
    assert gateway.headers["reason"] == "unsure: upstream_error"


async def test_but_not_for_a_client_that_wants_to_be_sure() -> None:
    gateway = Dispatching([model(), large(context=1)], {"slm-0": [stopped("ha")]})
    error = await gateway.fails(
        Runaway, call(messages=[{"role": "user", "content": "x" * 99}], routing={"min_confidence": 0.5})
    )
    assert error.code == "endless_answer"


async def test_the_rest_of_a_free_stream_was_cut() -> None:
    gateway = Dispatching(script={"slm-0": [streamed("ha", "ha", finish="repetition")]})
    events = [json.loads(event) for event in await gateway.ask(stream=True)]
    assert [part["finish_reason"] for event in events for part in event["choices"]][-1] == "length"
    assert gateway.steps == []


async def test_so_was_text_where_calls_are_optional() -> None:
    gateway = Dispatching(script={"slm-0": [streamed("Well, ", "well, ", finish="repetition")]})
    events = [json.loads(event) for event in await gateway.ask(stream=True, tools=[TOOL])]
    assert [part["finish_reason"] for event in events for part in event["choices"]][-1] == "length"


async def test_a_stream_that_is_held_for_its_judge_goes_to_the_next_rung() -> None:
    logged = json.loads(chunk("ha"))
    logged["choices"][0]["logprobs"] = said("ha", SURE)
    steps = [[json.dumps(logged).encode()], [chunk(finish="repetition"), USAGE, DONE]]
    one = gateway(streams(steps), large_says=streams())
    await one.ask(stream=True)
    assert one.steps == [("slm", "llm", "runaway")]


# --- streams under a format


@pytest.mark.parametrize("bad", [endless(), streamed(REPEATED, finish="repetition")])
async def test_a_stream_under_a_format_has_the_same_reason(bad: Any) -> None:
    gateway = Dispatching(script={"slm-0": [bad], "llm-0": [streamed(GOOD)]})
    await gateway.ask(stream=True, response_format=AS_PERSON)
    assert gateway.record.retries == [("slm", "runaway")]
    assert gateway.steps == [("slm", "llm", "runaway")]


async def test_a_held_stream_of_equal_numbers_is_asked_again_without_a_stop() -> None:
    gateway = Dispatching([model()], {"slm-0": [streamed(ZEROS[:1500], finish="repetition"), streamed(ZEROS)]})
    await gateway.ask(stream=True, response_format=LIST)
    assert gateway.record.retries == [("slm", "runaway")]
    assert gateway.upstream.sent[1].body["repetition_detection"]["min_count"] == 512


async def test_thoughts_without_an_end_are_stopped() -> None:
    thoughts = streams([[ROLE], *[[chunk(reasoning_content="Hmm. ")]] * 10_000])
    gateway = Dispatching(script={"slm-0": [thoughts], "llm-0": [streamed(GOOD)]})
    await gateway.ask(stream=True, response_format=AS_PERSON)
    assert gateway.steps == [("slm", "llm", "runaway")]
    assert len(gateway.upstream.exchanges[0].waits) < 1_000
