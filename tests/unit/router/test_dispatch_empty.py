"""What becomes of an answer that has nothing for its reader."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.errors import AnswerEmpty, StructuredOutputViolation
from tests.support import confidence
from tests.support.fakes import DONE, ROLE, FakeExchange, answers, call, chunk, refuses, streams, usage_chunk, whole
from tests.support.inprocess import Dispatching

FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def _plays(stream: bool, finish: str = "stop", **said: Any) -> Any:
    """Answer with what is said, and nothing else."""
    if stream:
        return streams([[ROLE, chunk(**said)], [chunk(finish=finish), usage_chunk(), DONE]])
    answer = json.loads(whole("", finish=finish))
    answer["choices"][0]["message"] |= said
    return lambda: FakeExchange(body=json.dumps(answer).encode())


def _good(stream: bool) -> Any:
    return streams() if stream else answers()


def _text(got: list[bytes], stream: bool) -> str:
    choices = [choice for event in got for choice in json.loads(event)["choices"]]
    return "".join((choice["delta"] if stream else choice["message"]).get("content") or "" for choice in choices)


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
NOTHING = [
    ({"reasoning_content": "Hm."}, "only_thoughts"),
    ({"reasoning": "Hm."}, "only_thoughts"),
    ({"content": "<think>Hm."}, "only_thoughts"),
    ({"content": " \n\u200b"}, "empty"),
    ({"content": ""}, "empty"),
]


@both
@pytest.mark.parametrize("finish", ["stop", "length"])
@pytest.mark.parametrize(("said", "reason"), NOTHING)
async def test_the_next_rung_is_asked(said: dict[str, Any], reason: str, finish: str, stream: bool) -> None:
    gateway = Dispatching(script={"slm-0": [_plays(stream, finish, **said)], "llm-0": [_good(stream)]})
    assert _text(await gateway.ask(stream=stream), stream) == "Paris."
    assert gateway.steps == [("slm", "llm", reason)]
    assert gateway.headers["reason"] == reason
    assert gateway.pools["slm"].replicas[0].breaker.failures == 0, "its replica did its work"
    gateway.all_is_released()


@both
async def test_an_answer_that_the_clients_limit_cut_gets_more_room_once(stream: bool) -> None:
    cut = _plays(stream, "length", reasoning_content="Hm.")
    gateway = Dispatching(script={"slm-0": [cut, _good(stream)]})
    assert _text(await gateway.ask(stream=stream, max_tokens=100), stream) == "Paris."
    assert [sent.body["max_tokens"] for sent in gateway.upstream.sent] == [100, 400]
    assert gateway.record.retries == [("slm", "only_thoughts")]
    gateway = Dispatching(script={"slm-0": [cut, cut, cut], "llm-0": [_good(stream)]})
    assert _text(await gateway.ask(stream=stream, max_tokens=100), stream) == "Paris."
    limits = [(sent.url.split("/")[2], sent.body["max_tokens"]) for sent in gateway.upstream.sent]
    assert limits == [("slm-0", 100), ("slm-0", 400), ("llm-0", 100)]


@both
@pytest.mark.parametrize(("said", "reason"), NOTHING[:4:3])
async def test_if_nobody_has_more_it_is_the_best_there_is(said: dict[str, Any], reason: str, stream: bool) -> None:
    for llm, is_empty in ((_plays(stream, **said), True), (refuses(500), False)):
        gateway = Dispatching(script={"slm-0": [_plays(stream, **said)], "llm-0": [llm, llm, llm]})
        got = await gateway.ask(stream=stream)
        assert not _text(got, stream).strip(" \n\u200b")
        has_left = stream and is_empty  # of the last rung, thoughts are sent as they come
        assert gateway.headers["model"] == ("llm" if has_left else "slm")
        assert gateway.headers["reason"] == f"unsure: {reason if is_empty else 'upstream_error'}"
        assert gateway.record.answering is gateway.record.attempts[-1 if has_left else 0]
        gateway.all_is_released()
    alone = Dispatching(script={"slm-0": [_plays(stream, **said)]})
    await alone.ask(stream=stream, model="slm")
    assert alone.headers["reason"] == f"unsure: {reason}"
    alone.all_is_released()


@both
async def test_a_filtered_answer_and_a_refusal_are_answers(stream: bool) -> None:
    for plays in (_plays(stream, "content_filter", content=""), _plays(stream, refusal="No.")):
        gateway = Dispatching(script={"slm-0": [plays]})
        await gateway.ask(stream=stream)
        assert gateway.headers["reason"] == "fixed"


@both
async def test_with_a_format_a_cut_within_the_thoughts_is_no_truncated_answer(stream: bool) -> None:
    cut = _plays(stream, "length", reasoning_content="Hm.")
    good = streams([[ROLE, chunk("{}"), chunk(finish="stop"), DONE]]) if stream else answers("{}")
    gateway = Dispatching(script={"slm-0": [cut], "llm-0": [good]})
    assert _text(await gateway.ask(stream=stream, response_format=FORM), stream) == "{}"
    assert gateway.steps == [("slm", "llm", "only_thoughts")]
    gateway = Dispatching(script={"slm-0": [cut], "llm-0": [cut]})
    await gateway.ask(stream=stream, response_format=FORM)
    assert gateway.headers["reason"] == "unsure: only_thoughts"


@both
async def test_with_a_format_an_empty_answer_is_invalid_as_ever(stream: bool) -> None:
    empty = _plays(stream, content=" ")
    gateway = Dispatching(script={"slm-0": [empty] * 4, "llm-0": [empty] * 4})
    await gateway.fails(StructuredOutputViolation, call(stream=stream, response_format=FORM))


@both
async def test_an_answer_in_the_thoughts_is_moved(stream: bool) -> None:
    gateway = Dispatching(script={"slm-0": [_plays(stream, reasoning='{"a": 1}', content=None)]})
    assert _text(await gateway.ask(stream=stream, response_format=FORM), stream) == '{"a": 1}'
    assert gateway.headers["structured"] in ("repaired", "checking")
    assert gateway.record.structured == "repaired"
    assert gateway.upstream.hosts == ["slm-0"]


@both
async def test_a_cascade_never_takes_it_for_sure(stream: bool) -> None:
    tokens = {"content": [{"token": "Hm.", "logprob": -0.000001, "bytes": None, "top_logprobs": []}]}
    said = {"index": 0, "finish_reason": None, "logprobs": tokens}
    if stream:
        event = json.dumps({"choices": [said | {"delta": {"reasoning": "Hm."}}]}).encode()
        plays = streams([[ROLE, event], [chunk(finish="stop"), DONE]])
    else:
        choice = said | {"message": {"role": "assistant", "content": None, "reasoning": "Hm."}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
        plays = lambda: FakeExchange(body=body)  # noqa: E731
    gateway = confidence.gateway(plays)
    gateway.upstream.script["llm-0"] = [_good(stream)]
    assert _text(await gateway.ask(stream=stream), stream) == "Paris."
    assert gateway.steps == [("slm", "llm", "only_thoughts")]
    assert gateway.record.judgements == []
    gateway = confidence.gateway(plays)
    gateway.upstream.script["llm-0"] = [refuses(500)] * 3
    await gateway.ask(stream=stream)
    assert "confidence" not in gateway.headers
    assert gateway.headers["model"] == "slm"


@pytest.mark.parametrize("message", [None, "text", 5])
async def test_a_choice_without_a_message_is_broken_and_not_empty(message: object) -> None:
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    gateway = Dispatching(script={"slm-0": [lambda: FakeExchange(body=body)]})
    assert _text(await gateway.ask(), False) == "Paris."
    assert gateway.steps == [("slm", "llm", "upstream_error")]


async def test_who_demands_a_confidence_gets_no_empty_answer() -> None:
    gateway = confidence.gateway(_plays(False, reasoning_content="Hm."))
    gateway.upstream.script["llm-0"] = [_plays(False, reasoning_content="Hm.")]
    await gateway.fails(AnswerEmpty, routing={"min_confidence": 0.5})


async def test_thoughts_leave_at_once_if_the_client_holds_nothing() -> None:
    plays = _plays(True, reasoning_content="Hm.")
    gateway = Dispatching(script={"slm-0": [plays]})
    got = await gateway.ask(stream=True, routing={"hold": "none"})
    assert len(got) == 3
    assert gateway.upstream.hosts == ["slm-0"]
    assert gateway.record.reason == "unsure: only_thoughts", "the comment at the end says it"


async def test_a_stream_that_holds_thoughts_is_kept_alive_meanwhile() -> None:
    gateway = Dispatching(script={"slm-0": [_plays(True, reasoning_content="Hm.")], "llm-0": [streams()]})
    await gateway.ask(stream=True)
    assert gateway.record.held
    gateway = Dispatching(script={"slm-0": [streams()]})
    await gateway.ask(stream=True)
    assert not gateway.record.held


async def test_skipped_models_are_asked_rather_than_nothing_said() -> None:
    gateway = Dispatching(
        settings={"policy": "heuristic"},
        script={"llm-0": [_plays(False, reasoning_content="Hm.")], "slm-0": [answers("From the small one.")]},
    )
    hard = {"messages": [{"role": "user", "content": "word " * 1000}], "reasoning_effort": "high"}
    [body] = await gateway.ask(**hard)
    assert gateway.upstream.hosts[0] == "llm-0"
    assert _text([body], False) == "From the small one."
