"""A whole answer of an engine that does not stop endless ones is read as a stream, and is what a whole one would be."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from router.attempt.assembled_answer import read_assembled
from router.errors import StructuredOutputViolation, UpstreamFailed, UpstreamTimedOut
from router.structured.contract import LONG_ANSWER_TOKENS
from tests.support.confidence import FORM, SURE, gateway, said
from tests.support.endless import USAGE, body_of, content, endless, streamed
from tests.support.failing import AS_PERSON, BAD, GOOD, PERSON
from tests.support.fakes import (
    DONE,
    HANG,
    ROLE,
    answers,
    call,
    chunk,
    large,
    model,
    refuses,
    streams,
    usage_of,
)
from tests.support.inprocess import Dispatching

TOOL = {"type": "function", "function": {"name": "f", "parameters": PERSON}}
STOP = chunk(finish="stop")


def mine(**entry: Any) -> Any:
    """A small model whose engine does not stop a text that repeats itself."""
    return model(**({"engine": "llamacpp"} | entry))


async def test_it_is_asked_for_a_stream_and_stopped() -> None:
    gateway = Dispatching([mine(), large()], {"slm-0": [endless()], "llm-0": [answers(GOOD)]})
    assert content(await gateway.ask(response_format=AS_PERSON)) == GOOD
    assert [sent.body.get("stream") for sent in gateway.upstream.sent] == [True, True, None]
    assert gateway.upstream.sent[0].body["stream_options"] == {"include_usage": True}
    assert gateway.steps == [("slm", "llm", "runaway")]
    first = gateway.record.attempts[0]
    assert len(gateway.upstream.exchanges[0].waits) < 2_000, "the rest was not waited for"
    assert first.estimate
    assert first.estimate.completion == first.events > 1_000, "what was generated is paid for"
    gateway.all_is_released()
    assert gateway.pools["slm"].replicas[0].breaker.failures == 0


async def test_a_sound_answer_is_what_a_whole_one_would_be() -> None:
    tokens = [{"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": []} for text in ('{"age"', ": 42}")]
    head = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "system_fingerprint": "f"}

    def event(delta: dict[str, Any], token: Any = None, finish: str | None = None, **more: Any) -> bytes:
        logprobs = {"content": [token], "refusal": None} if token else None
        part = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return json.dumps({**head, "choices": [part], **more}).encode()

    steps = [
        [event({"role": "assistant", "content": ""}, service_tier=None)],
        [event({"content": '{"age"'}, tokens[0]), event({"content": ": 42}"}, tokens[1])],
        [event({}, finish="stop", service_tier="default", timings={"predicted_n": 2})],
        [json.dumps({**head, "choices": [], "usage": usage_of(10, 2)}).encode(), DONE],
    ]
    gateway = Dispatching([mine()], {"slm-0": [streams(steps)]})
    [got] = await gateway.ask(response_format=AS_PERSON, logprobs=True)
    assert json.loads(got) == {
        **head,
        "object": "chat.completion",
        "service_tier": "default",
        "timings": {"predicted_n": 2},
        "usage": usage_of(10, 2),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": GOOD, "refusal": None},
                "logprobs": {"content": tokens, "refusal": None},
                "finish_reason": "stop",
            }
        ],
    }
    assert gateway.record.usage
    assert gateway.record.usage.completion == 2
    assert gateway.headers["structured"] == "decoded"


async def test_several_answers_of_a_completion() -> None:
    def event(index: int, text: str, finish: str | None = None) -> bytes:
        logprobs = {"tokens": [text], "token_logprobs": [-0.5], "text_offset": [0], "top_logprobs": None}
        part = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return json.dumps({"id": "x", "object": "text_completion", "choices": [part]}).encode()

    steps = [[event(1, "a"), event(0, "b")], [event(0, "b", "stop"), event(1, "a", "stop")], [DONE]]
    gateway = Dispatching([mine()], {"slm-0": [streams(steps)]})
    one = call(endpoint="completions", prompt="p", n=2, structured_outputs={"choice": ["aa", "bb"]}, logprobs=1)
    [got] = await gateway.ask(one)
    first, second = json.loads(got)["choices"]
    assert (first["text"], second["text"]) == ("bb", "aa")
    assert first["logprobs"]["tokens"] == ["b", "b"]
    assert first["logprobs"]["token_logprobs"] == [-0.5, -0.5]


async def test_calls_are_assembled_and_checked() -> None:
    def part(arguments: str, **head: Any) -> bytes:
        function = {"arguments": arguments} | ({"name": "f"} if head else {})
        return chunk(tool_calls=[{"index": 0, **head, "function": function}])

    steps = [
        [ROLE],
        [part("", id="c", type="function")],
        [part('{"age":')],
        [part(" 42}")],
        [chunk(finish="tool_calls"), DONE],
    ]
    gateway = Dispatching([mine()], {"slm-0": [streams(steps)]})
    [only] = body_of(await gateway.ask(tools=[TOOL], tool_choice="required"))["choices"]
    [made] = only["message"]["tool_calls"]
    assert made == {"id": "c", "type": "function", "function": {"name": "f", "arguments": GOOD}}


@pytest.mark.parametrize(
    ("one", "fields"),
    [
        (mine(), {"response_format": AS_PERSON, "max_tokens": LONG_ANSWER_TOKENS}),  # it ends soon
        (mine(), {}),  # no format: any text will do
        (mine(), {"tools": [TOOL]}),
        (large(), {"response_format": AS_PERSON}),
        (mine(), {"response_format": AS_PERSON, "best_of": 3}),  # engines do not stream it
        (mine(), {"tools": [TOOL], "tool_choice": "required", "logprobs": True}),  # llama.cpp streams no logprobs
    ],
)
async def test_these_are_read_whole(one: Any, fields: dict[str, Any]) -> None:
    gateway = Dispatching([one], {f"{one.name}-0": [answers(GOOD)]})
    with suppress(StructuredOutputViolation):  # the answer is no call
        await gateway.ask(**fields)
    assert not gateway.upstream.sent[0].body.get("stream")


async def test_an_upstream_that_does_not_stream_is_read_as_it_answers() -> None:
    gateway = Dispatching([mine()], {"slm-0": [answers(GOOD)]})
    assert content(await gateway.ask(response_format=AS_PERSON)) == GOOD


async def test_an_upstream_that_refuses_to_stream_is_asked_for_the_whole() -> None:
    words = {"error": {"message": "Your organization must be verified to stream this model.", "param": "stream"}}
    gateway = Dispatching([mine()], {"slm-0": [refuses(400, words), answers(GOOD)]})
    assert content(await gateway.ask(response_format=AS_PERSON)) == GOOD
    assert [sent.body.get("stream") for sent in gateway.upstream.sent] == [True, None]
    assert "adapted" not in gateway.headers


async def test_a_judge_reads_its_logprobs() -> None:
    def event(text: str) -> bytes:
        logged = json.loads(chunk(text))
        logged["choices"][0]["logprobs"] = said(text, SURE / 2)
        return json.dumps(logged).encode()

    one = gateway(streams([[event('{"a": '), event("1}")], [STOP, USAGE, DONE]]))
    one = Dispatching((mine(), large()), one.script, settings=one.settings)
    [got] = await one.ask(response_format=FORM)
    [only] = json.loads(got)["choices"]
    assert only["message"]["content"] == '{"a": 1}'
    assert only["logprobs"] is None
    assert one.headers["model"] == "slm"
    assert one.record.judgements[0].accepted


async def test_samples_vote() -> None:
    texts = ('{"a": 1}', '{"a": 2}', '{"a": 1}')
    steps = [[chunk(text, index=at) for at, text in enumerate(texts)]]
    steps += [[chunk(finish="stop", index=at) for at in range(3)], [USAGE, DONE]]
    settings = {"policy": "cascade", "samples": 3, "min_confidence": 0.5}
    one = Dispatching((mine(), large()), {"slm-0": [streams(steps)]}, settings=settings)
    assert content(await one.ask(response_format=FORM)) == '{"a": 1}'
    assert one.headers["model"] == "slm"


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([[ROLE], [chunk('{"age"')]], UpstreamFailed),  # no finish_reason
        ([[ROLE], UpstreamFailed("cut")], UpstreamFailed),
        ([[b'{"error": {"message": "no", "code": 500}}']], UpstreamFailed),
        ([[ROLE], HANG], UpstreamTimedOut),
    ],
)
async def test_what_breaks_off_is_no_answer(steps: Any, error: Any) -> None:
    limits = model().timeouts.model_copy(update={"total_s": 0.05})
    gateway = Dispatching([mine(timeouts=limits)], {"slm-0": [streams(steps)]})
    await gateway.fails(error, response_format=AS_PERSON)


async def test_it_may_begin_as_late_as_a_whole_answer() -> None:
    limits = model().timeouts.model_copy(update={"first_byte_s": 0.001, "total_s": 9.0})
    gateway = Dispatching([mine(timeouts=limits)], {"slm-0": [streamed(GOOD)]})
    await gateway.ask(response_format=AS_PERSON)
    [exchange] = gateway.upstream.exchanges
    assert exchange.within_s > 8
    assert exchange.waits[0] > 8


async def test_an_invalid_one_is_asked_again_with_its_fault() -> None:
    gateway = Dispatching([mine()], {"slm-0": [streamed(BAD), streamed(GOOD)]})
    assert content(await gateway.ask(response_format=AS_PERSON)) == GOOD
    assert gateway.record.retries == [("slm", "structured")]


async def test_one_that_is_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{read_assembled.__module__}.MAX_BODY_BYTES", 300)
    gateway = Dispatching([mine()], {"slm-0": [streamed(*map(str, range(100)))]})
    error = await gateway.fails(UpstreamFailed, response_format=AS_PERSON)
    assert "longer than 300 bytes" in error.message
