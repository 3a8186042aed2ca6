"""How a request's format is kept: what is asked again, in which words, and what of a stream leaves when."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.errors import AnswerTruncated, Runaway, StructuredOutputViolation, UpstreamFailed, UpstreamRejected
from router.structured.workers.grammar_workers import GrammarSupport
from tests.support.failing import AS_PERSON, BAD, GOOD, PERSON
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
    usage_chunk,
    usage_of,
    whole,
)
from tests.support.inprocess import Dispatching

FENCED = '```json\n{"age": 42}\n```'
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": PERSON}}]
REFUSES = refuses(400, {"error": {"message": "Grammar error: Unimplemented keys", "code": 400}})
STOP = chunk(finish="stop")


class Holds:
    """Grammar workers whose engines enforce what the test says."""

    def __init__(self, word: str) -> None:
        self.word = word

    async def grammar_support(self, *_: Any) -> GrammarSupport:
        return GrammarSupport(self.word, "")  # type: ignore[arg-type]


def enforced(script: dict[str, Any], word: str = "whole") -> Dispatching:
    """A small model whose decoding is known, and a large one of which nothing is."""
    models = model(structured_backend="guidance"), large()
    return Dispatching(models, script, workers=Holds(word))  # type: ignore[arg-type]


def made_call(arguments: str = GOOD, name: str = "f", finish: str = "tool_calls") -> bytes:
    function = {"name": name, "arguments": arguments}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }
    return json.dumps(
        {"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage_of(10, 5)}
    ).encode()


def bodies(*each: bytes) -> list[Any]:
    return [lambda body=body: FakeExchange(body=body) for body in each]


def streamed(*pieces: str, finish: str = "stop") -> Any:
    return streams([[ROLE], *([chunk(piece)] for piece in pieces), [chunk(finish=finish), usage_chunk(), DONE]])


def calling(*pieces: str, before: str = "") -> Any:
    def part(piece: str, **head: Any) -> bytes:
        return chunk(
            tool_calls=[{"index": 0, **head, "function": {"arguments": piece} | ({"name": "f"} if head else {})}]
        )

    first, *rest = pieces
    text = [[chunk(before)]] if before else []
    steps = [[ROLE], *text, [part(first, id="c", type="function")], *([part(piece)] for piece in rest)]
    return streams([*steps, [chunk(finish="tool_calls"), DONE]])


def said(events: list[bytes]) -> str:
    parts = [json.loads(event)["choices"] for event in events]
    return "".join(part[0]["delta"].get("content") or "" for part in parts if part)


# --- asked again


async def test_the_second_try_is_told_what_was_wrong() -> None:
    gateway = Dispatching(script={"slm-0": [answers(BAD), answers(GOOD)]})
    await gateway.ask(response_format=AS_PERSON)
    first, second = (sent.body["messages"] for sent in gateway.upstream.sent)
    assert second[: len(first)] == first
    assert second[-2] == {"role": "assistant", "content": BAD}
    assert "'/age'" in second[-1]["content"]


async def test_the_next_rung_is_not_blamed_for_the_one_before() -> None:
    gateway = Dispatching(script={"slm-0": [answers(BAD)], "llm-0": [answers(GOOD)]})
    await gateway.ask(response_format=AS_PERSON)
    assert gateway.upstream.sent[-1].body["messages"] == gateway.upstream.sent[0].body["messages"]


@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_engine_refuses_to_constrain_it_is_asked_in_words(stream: bool) -> None:
    answered = streamed(GOOD) if stream else answers(GOOD)
    gateway = Dispatching(script={"slm-0": [REFUSES, answered]})
    await gateway.ask(response_format=AS_PERSON, stream=stream)
    first, second = (sent.body for sent in gateway.upstream.sent)
    assert first["response_format"] == AS_PERSON
    assert "response_format" not in second
    assert "JSON schema" in second["messages"][-1]["content"]
    assert gateway.record.retries == [("slm", "ability")]
    assert gateway.headers["structured"] == "retried"


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Invalid schema for response_format 'person'", "param": "response_format", "code": None},
        {"message": "This response_format type is unavailable now"},
    ],
)
async def test_so_is_an_api_that_takes_no_such_schema(error: dict[str, Any]) -> None:
    gateway = Dispatching([large()], {"llm-0": [refuses(400, {"error": error}), answers(GOOD)]})
    await gateway.ask(model="llm", response_format=AS_PERSON)
    first, second = (sent.body for sent in gateway.upstream.sent)
    assert "response_format" in first
    assert "response_format" not in second


@pytest.mark.parametrize("stream", [False, True])
async def test_a_number_that_json_has_not_is_not_written_again(stream: bool) -> None:
    body = whole(FENCED).replace(b'"id": "x"', b'"created": 1e999')
    event = chunk(FENCED).replace(b'"id": "x"', b'"created": 1e999')
    gateway = Dispatching([model()], {"slm-0": [streams([[event, STOP, DONE]])] if stream else bodies(body)})
    await gateway.fails(UpstreamFailed, response_format=AS_PERSON, stream=stream)


async def test_what_is_refused_twice_goes_up() -> None:
    gateway = Dispatching(script={"slm-0": [REFUSES], "llm-0": [answers(GOOD)]})
    await gateway.ask(response_format=AS_PERSON)
    assert gateway.steps == [("slm", "llm", "ability")]
    alone = Dispatching([model()], {"slm-0": [REFUSES]})
    await alone.fails(UpstreamRejected, response_format=AS_PERSON)


# --- repaired


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fence_is_taken_off(stream: bool) -> None:
    gateway = Dispatching(script={"slm-0": [streamed("```json\n", GOOD, "\n```") if stream else answers(FENCED)]})
    got = await gateway.ask(response_format=AS_PERSON, stream=stream)
    assert (said(got) if stream else json.loads(got[0])["choices"][0]["message"]["content"]) == GOOD
    assert gateway.headers["structured"] == "repaired"
    assert gateway.record.verdicts == [("slm", "json_schema", "repaired")]
    assert len(gateway.record.attempts) == 1


async def test_the_rest_of_a_repaired_answer_stays() -> None:
    gateway = Dispatching(script={"slm-0": [answers(FENCED)]})
    (body,) = await gateway.ask(response_format=AS_PERSON)
    before, after = json.loads(whole(FENCED)), json.loads(body)
    assert {**before, "choices": None} == {**after, "choices": None}


# --- streams


async def test_what_decoding_enforces_flows_at_once() -> None:
    gateway = enforced({"slm-0": [streamed('{"age"', ": 42}")]})
    async with gateway.dispatch(_call(response_format=AS_PERSON)) as reply:
        assert reply.events is not None
        assert gateway.headers["structured"] == "decoded"
        assert not gateway.record.held
        assert await anext(aiter(reply.events)) == [ROLE, chunk('{"age"')]
        assert [event async for batch in reply.events for event in batch] == [chunk(": 42}"), STOP]
    assert gateway.record.verdicts == [("slm", "json_schema", "valid")]


def _call(**fields: Any) -> Any:
    return call(stream=True, **fields)


async def test_unless_the_client_wants_it_verified_first() -> None:
    gateway = enforced({"slm-0": [streamed(BAD), streamed(GOOD)]})
    await gateway.ask(stream=True, response_format=AS_PERSON, routing={"stream_check": "hold"})
    assert gateway.record.retries == [("slm", "structured")]


@pytest.mark.parametrize("word", ["partial", "none"])
async def test_what_it_enforces_in_part_is_held(word: str) -> None:
    gateway = enforced({"slm-0": [streamed(BAD), streamed(GOOD)]}, word)
    assert said(await gateway.ask(stream=True, response_format=AS_PERSON)) == GOOD
    assert gateway.record.held


async def test_an_engine_that_did_not_enforce_it_after_all_ends_in_an_error() -> None:
    gateway = enforced({"slm-0": [streamed('{"age"', ': "old"}')]})
    got, error = await gateway.breaks(StructuredOutputViolation, response_format=AS_PERSON)
    assert said(got) == BAD
    assert STOP not in got
    assert "'/age'" in error.message


async def test_by_the_clients_wish_a_strangers_stream_flows_while_it_can_be_valid() -> None:
    prefix = {"routing": {"stream_check": "prefix"}, "response_format": AS_PERSON, "model": "llm"}
    gateway = Dispatching(script={"llm-0": [streamed('{"age"', ": 42}")]})
    assert said(await gateway.ask(stream=True, **prefix)) == GOOD
    assert gateway.record.structured == "decoded"
    gateway = Dispatching(script={"llm-0": [streamed('{"age"', ": 42", "!", "}")]})
    got, error = await gateway.breaks(StructuredOutputViolation, **prefix)
    assert said(got) == '{"age": 42'
    assert gateway.record.attempts[0].failure == "structured"
    assert "JSON schema" in error.message


async def test_such_a_stream_that_begins_with_prose_is_held_and_repaired() -> None:
    gateway = Dispatching(script={"llm-0": [streamed("Here: ", GOOD)]})
    prefix = {"routing": {"stream_check": "prefix"}, "response_format": AS_PERSON, "model": "llm"}
    assert said(await gateway.ask(stream=True, **prefix)) == GOOD
    assert gateway.record.structured == "repaired"


async def test_an_endless_answer_is_stopped_and_asked_again() -> None:
    endless = streams([[ROLE], [chunk('{"age":')], *[[chunk("\n" * 50)]] * 100])
    gateway = enforced({"slm-0": [endless, streamed(GOOD)]}, "partial")
    assert said(await gateway.ask(stream=True, response_format=AS_PERSON)) == GOOD
    assert len(gateway.upstream.exchanges[0].waits) < 20, "the rest was not waited for"
    assert gateway.record.retries == [("slm", "runaway")]


# --- tools


async def test_a_call_that_breaks_its_schema_is_asked_again() -> None:
    gateway = Dispatching(script={"slm-0": bodies(made_call(BAD), made_call())})
    await gateway.ask(tools=TOOLS)
    assert [word for *_, word in gateway.record.verdicts] == ["invalid", "valid"]
    assert gateway.record.verdicts[0][1] == "tools"
    assert '\\"old\\"' in gateway.upstream.sent[1].body["messages"][-2]["content"]


async def test_text_instead_of_a_call_that_may_be_made_is_no_structured_answer() -> None:
    gateway = Dispatching()
    await gateway.ask(tools=TOOLS)
    assert gateway.headers["structured"] == "none"
    assert gateway.record.verdicts == []


async def test_text_instead_of_a_call_that_must_be_made_is_none() -> None:
    gateway = Dispatching([model()])
    await gateway.fails(StructuredOutputViolation, tools=TOOLS, tool_choice="required")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_was_written_as_text_is_returned_as_one(stream: bool) -> None:
    text = json.dumps({"name": "f", "arguments": {"age": 42}})
    gateway = Dispatching(script={"slm-0": [streamed(text[:5], text[5:]) if stream else answers(text)]})
    got = await gateway.ask(tools=TOOLS, stream=stream)
    if stream:
        deltas = [json.loads(event)["choices"][0] for event in got]
        (made,) = [made for one in deltas for made in one["delta"].get("tool_calls", ())]
        assert deltas[-1]["finish_reason"] == "tool_calls"
        assert said(got) == ""
    else:
        (choice,) = json.loads(got[0])["choices"]
        (made,) = choice["message"]["tool_calls"]
        assert choice["finish_reason"] == "tool_calls"
    assert json.loads(made["function"]["arguments"]) == {"age": 42}
    assert gateway.record.structured == "repaired"


async def test_a_text_flows_though_calls_may_be_made_and_the_calls_wait() -> None:
    gateway = Dispatching(script={"slm-0": [calling('{"age"', ": 42}", before="Let me see.")]})
    async with gateway.dispatch(_call(tools=TOOLS)) as reply:
        assert reply.events is not None
        batches = [batch async for batch in reply.events]
    assert batches[0] == [ROLE, chunk("Let me see.")]
    assert len(batches) == 2, "the calls come together, when they are known to be good"
    assert gateway.record.structured == "decoded"


async def test_a_bad_call_after_a_text_that_has_left_ends_in_an_error() -> None:
    gateway = Dispatching(script={"slm-0": [calling('{"age"', ': "old"}', before="Let me see.")]})
    got, _ = await gateway.breaks(StructuredOutputViolation, tools=TOOLS)
    assert got == [ROLE, chunk("Let me see.")]


async def test_a_bad_call_before_any_text_is_asked_again() -> None:
    gateway = Dispatching(script={"slm-0": [calling(BAD), calling(GOOD)]})
    assert "42" in b"".join(await gateway.ask(tools=TOOLS, stream=True)).decode()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bad_call_is_asked_again_by_name_so_that_decoding_holds_it(stream: bool) -> None:
    first, again = (calling(BAD), calling('{"age"', ": 42}")) if stream else bodies(made_call(BAD), made_call())
    gateway = enforced({"slm-0": [first, again]})
    await gateway.ask(tools=TOOLS, stream=stream)
    first, second = (sent.body for sent in gateway.upstream.sent)
    assert "tool_choice" not in first
    assert second["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert not gateway.record.held


async def test_a_bad_text_where_calls_might_have_been_is_decoded_as_its_form() -> None:
    gateway = enforced({"slm-0": [answers(BAD), answers(GOOD)]})
    await gateway.ask(tools=TOOLS, response_format=AS_PERSON)
    first, second = (sent.body for sent in gateway.upstream.sent)
    assert "response_format" not in first
    assert second["response_format"]["json_schema"]["schema"].items() >= PERSON.items()
    assert second["tool_choice"] == "none"


async def test_of_an_engine_that_we_do_not_know_no_other_choice_is_made() -> None:
    gateway = Dispatching(script={"slm-0": bodies(made_call(BAD), made_call())})
    await gateway.ask(tools=TOOLS)
    assert "tool_choice" not in gateway.upstream.sent[1].body


@pytest.mark.parametrize("name", ["g", "f"])
async def test_what_was_meant_must_be_known(name: str) -> None:
    both = json.loads(made_call(BAD, name))
    if name == "f":
        both["choices"][0]["message"]["tool_calls"] *= 2
    gateway = enforced({"slm-0": bodies(json.dumps(both).encode(), made_call())})
    await gateway.ask(tools=TOOLS)
    assert "tool_choice" not in gateway.upstream.sent[1].body


async def test_a_form_beside_a_call_that_was_meant_is_not_asked_for() -> None:
    gateway = enforced({"slm-0": bodies(made_call(BAD), made_call())})
    await gateway.ask(tools=TOOLS, response_format=AS_PERSON)
    assert gateway.upstream.sent[1].body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert "response_format" not in gateway.upstream.sent[1].body


# --- what is said of it


async def test_a_stream_that_flows_says_at_its_beginning_that_it_was_asked_for_again() -> None:
    gateway = enforced({"slm-0": [streamed("no"), streamed(GOOD)]})
    async with gateway.dispatch(call(stream=True, response_format=AS_PERSON)):
        assert gateway.headers["structured"] == "retried"


async def test_a_stream_that_is_lost_counts_as_invalid_and_names_its_model() -> None:
    gateway = Dispatching([model()], {"slm-0": [streamed('{"age": ' + " " * 300)]})
    error = await gateway.fails(Runaway, call(stream=True, response_format=AS_PERSON))
    assert "The answer of model 'slm'" in str(error)
    assert gateway.record.verdicts == [("slm", "json_schema", "invalid")] * 2


async def test_the_correction_of_a_text_that_no_utf8_can_hold_is_sent() -> None:
    gateway = Dispatching(script={"slm-0": bodies(whole('{"age": "\ud800"}'), whole(GOOD))})
    await gateway.ask(response_format=AS_PERSON)
    assert gateway.record.retries == [("slm", "structured")]


@pytest.mark.parametrize("stream", [False, True])
async def test_only_what_the_endpoints_clients_read_is_judged(stream: bool) -> None:
    both = {"index": 0, "text": "no", "finish_reason": "stop", "delta" if stream else "message": {"content": GOOD}}
    raw = json.dumps({"id": "x", "choices": [both], "usage": usage_of(10, 5)}).encode()
    gateway = Dispatching(script={"slm-0": [lambda: FakeExchange(body=raw, steps=[[raw, DONE]])], "llm-0": [REFUSES]})
    await gateway.ask(stream=stream, response_format=AS_PERSON)
    of_completions = {"endpoint": "completions", "prompt": "p", "model": "slm"}
    await gateway.fails(StructuredOutputViolation, call(stream=stream, response_format=AS_PERSON, **of_completions))


# --- truncation


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_answer_is_asked_again_with_more_room_where_that_is_wanted(stream: bool) -> None:
    cut, good = (
        (streamed('{"age', finish="length"), streamed(GOOD))
        if stream
        else (*bodies(whole('{"age', finish="length")), answers(GOOD))
    )
    gateway = Dispatching(script={"slm-0": [cut, good]})
    wanted = {"response_format": AS_PERSON, "max_tokens": 10, "routing": {"on_truncation": "retry"}}
    await gateway.ask(stream=stream, **wanted)
    assert [sent.body["max_tokens"] for sent in gateway.upstream.sent] == [10, 40]
    assert gateway.record.retries == [("slm", "truncated")]
    assert gateway.headers["structured"] == "retried"


async def test_without_a_limit_of_the_client_more_room_is_one_rung_up() -> None:
    gateway = Dispatching(script={"slm-0": bodies(whole('{"age', finish="length")), "llm-0": [answers(GOOD)]})
    await gateway.ask(response_format=AS_PERSON, routing={"on_truncation": "retry"})
    assert gateway.steps == [("slm", "llm", "truncated")]


async def test_where_nobody_is_left_the_cut_answer_is_better_than_none() -> None:
    gateway = Dispatching([model()], {"slm-0": bodies(whole('{"age', finish="length"))})
    await gateway.ask(response_format=AS_PERSON, max_tokens=10, routing={"on_truncation": "retry"})
    assert len(gateway.record.attempts) == 2
    assert gateway.headers["structured"] == "truncated"


async def test_nor_is_anybody_left_where_more_room_cannot_be_given() -> None:
    gateway = Dispatching([model()], {"slm-0": bodies(whole('{"age', finish="length"))})
    await gateway.ask(response_format=AS_PERSON, routing={"on_truncation": "retry"})
    assert len(gateway.record.attempts) == 1
    assert gateway.headers["structured"] == "truncated"


CUT_ONCE = bodies(whole('{"age', finish="length"))


async def test_more_room_costs_no_more_than_the_client_allows() -> None:
    gateway = Dispatching([large(context=8_000)], {"llm-0": [*CUT_ONCE, answers(GOOD)]})
    wanted = {"on_truncation": "retry", "max_cost_usd": 0.0006}
    await gateway.fails(AnswerTruncated, response_format=AS_PERSON, max_tokens=200, routing=wanted)
    assert len(gateway.upstream.sent) == 1


async def test_what_only_the_second_try_asked_for_is_not_the_clients_fault() -> None:
    too_long = refuses(400, {"error": {"message": "This model's maximum context length is 100 tokens."}})
    gateway = Dispatching([model()], {"slm-0": [*CUT_ONCE, too_long]})
    await gateway.fails(AnswerTruncated, response_format=AS_PERSON, max_tokens=50, routing={"on_truncation": "retry"})
    gateway = Dispatching([model()], {"slm-0": [*bodies(whole(BAD)), too_long]})
    await gateway.fails(StructuredOutputViolation, response_format=AS_PERSON)


async def test_a_cut_answer_that_calls_itself_whole_says_length() -> None:
    body = json.loads(whole('{"age": 4', usage_of(10, 7), finish="stop"))
    gateway = Dispatching(script={"slm-0": bodies(json.dumps(body).encode())})
    (got,) = await gateway.ask(response_format=AS_PERSON, max_tokens=7)
    assert json.loads(got)["choices"][0]["finish_reason"] == "length"
    assert gateway.headers["structured"] == "truncated"


async def test_so_does_a_call() -> None:
    gateway = Dispatching(script={"slm-0": bodies(made_call('{"age": 4'))})
    (got,) = await gateway.ask(tools=TOOLS, tool_choice="required", max_tokens=5)
    assert json.loads(got)["choices"][0]["finish_reason"] == "length"


async def test_a_client_that_leaves_early_does_not_hide_the_violation() -> None:
    prefix = {"routing": {"stream_check": "prefix"}, "response_format": AS_PERSON, "model": "llm"}
    steps = [[ROLE, chunk('{"age"')], [chunk(": 42"), chunk("!")]]
    gateway = Dispatching(script={"llm-0": [streams(steps)]})
    async with gateway.dispatch(call(stream=True, **prefix)) as reply:
        assert reply.events is not None
        await anext(reply.events)
        await reply.events._read()  # type: ignore[attr-defined] - the next events have come, nobody has taken them
    assert gateway.record.verdicts == [("llm", "json_schema", "invalid")]
    gateway.all_is_released()
