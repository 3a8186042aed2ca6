"""What becomes of a small model's stream that has to be sure enough."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.errors import UpstreamFailed
from tests.support.confidence import (
    FORM,
    SCHEMA,
    STOP,
    SURE,
    UNSURE,
    choice,
    early,
    gateway,
    piece,
    said,
    telling,
    texts,
    whole,
)
from tests.support.fakes import (
    DONE,
    HANG,
    call,
    chunk,
    large,
    model,
    refuses,
    streams,
    usage_chunk,
    usage_of,
)
from tests.support.inprocess import Dispatching


async def test_a_stream_waits_for_its_verdict_and_leaves_without_logprobs() -> None:
    one = gateway(telling(("Pa", SURE), ("ris.", -0.01)))
    events = await one.ask(stream=True)
    assert texts(events) == "Paris."
    assert all(part.get("logprobs") is None for event in events for part in json.loads(event)["choices"])
    assert one.record.held
    assert one.headers["model"] == "slm"
    one.all_is_released()


async def test_a_stream_that_is_not_sure_enough_is_never_seen() -> None:
    one = gateway(telling(("Ro", SURE), ("me?", UNSURE)), large_says=streams())
    assert texts(await one.ask(stream=True)) == "Paris."
    assert one.tried == [("slm/0", "confidence"), ("llm/0", "")]
    one.all_is_released()


async def test_where_the_fallback_fails_the_unsure_stream_is_better_than_none() -> None:
    one = gateway(telling(("Ro", SURE), ("me?", UNSURE)), large_says=refuses(500))
    events = await one.ask(stream=True, stream_options={"include_usage": True}, usage=True)
    assert texts(events) == "Rome?"
    assert json.loads(events[-1])["usage"] == usage_of(10, 5)
    assert one.headers["reason"] == "unsure: upstream_error"
    one.all_is_released()


async def test_a_token_that_cannot_be_read_makes_the_stream_say_nothing() -> None:
    odd = json.loads(piece("ris", SURE))
    odd["choices"][0]["logprobs"]["content"][0]["logprob"] = None
    one = gateway(streams([[piece("Pa", SURE)], [json.dumps(odd).encode()], [STOP], [usage_chunk(), DONE]]))
    one.script["llm-0"] = [streams()]
    one = Dispatching(script=one.script, settings=one.settings)
    await one.ask(stream=True)
    assert one.record.judgements[0].score is None
    assert one.headers["model"] == "llm"


async def test_a_choice_of_a_stream_that_tells_nothing_is_not_passed_over() -> None:
    mute = json.dumps({"id": "x", "choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": None}]}).encode()
    one = gateway(
        streams([[piece("Pa", SURE)], [mute], [STOP, chunk(finish="stop", index=1)], [usage_chunk(), DONE]]),
        large_says=streams([[STOP, chunk(finish="stop", index=1)], [usage_chunk(), DONE]]),
    )
    await one.ask(stream=True, n=2)
    assert one.record.judgements[0].score is None


async def test_a_call_written_as_text_is_judged_as_a_call_also_in_a_stream() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    parts = [
        ("<tool_call>", SURE),
        ('{"name": "f", "arguments": {"a": ', SURE),
        ("1", UNSURE),
        ("}}</tool_call>", SURE),
    ]
    one = gateway(telling(*parts), large_says=streams(), **early(0.9))
    await one.ask(stream=True, tools=tools)
    assert [(judged.beginning, judged.accepted) for judged in one.record.judgements] == [(False, False)]
    body = "".join(text for text, _ in parts)
    tokens = [{"token": text, "logprob": logprob} for text, logprob in parts]
    alike = gateway(whole({**choice(body, None), "logprobs": {"content": tokens}}), **early(0.9))
    await alike.ask(tools=tools)
    assert alike.record.judgements[0].confidence == one.record.judgements[0].confidence


async def test_nothing_is_held_where_the_client_wants_it_so() -> None:
    one = gateway(telling(("Ro", UNSURE), ("me?", UNSURE)))
    assert texts(await one.ask(stream=True, routing={"hold": "none"})) == "Rome?"
    assert "logprobs" not in one.upstream.sent[0].body
    assert not one.record.held


async def test_text_whose_beginning_is_sure_goes_on_from_there() -> None:
    one = gateway(telling(("Pa", SURE), ("ris", SURE), (".", UNSURE), then=[HANG]), **early(0.9))
    got = []
    async with one.dispatch(call(stream=True)) as reply:
        assert reply.events is not None
        got = [json.loads(event) for event in await anext(aiter(reply.events))]
    assert [part["choices"][0]["delta"]["content"] for part in got] == ["Pa", "ris"]
    assert [judged.beginning for judged in one.record.judgements] == [True]


async def test_text_that_was_let_go_and_breaks_off_goes_on_without_a_second_verdict() -> None:
    rest = streams([[chunk("")], [chunk(".")], [STOP], [usage_chunk(), DONE]])
    one = Dispatching(
        [model(), large(prefill=True)],
        {"slm-0": [telling(("Pa", SURE), ("ris", SURE), then=[UpstreamFailed("gone")])], "llm-0": [rest]},
        settings={"policy": "cascade", **early(0.9)},
    )
    assert texts(await one.ask(stream=True)) == "Paris."
    assert [judged.accepted for judged in one.record.judgements] == [True]
    assert "logprobs" not in one.upstream.sent[-1].body
    assert one.record.continued_by == ["llm/0"]
    one.all_is_released()


async def test_text_whose_beginning_is_not_sure_enough_waits_for_its_end() -> None:
    one = gateway(telling(("Pa", -0.1), ("ris", -0.3), (".", -0.1)), large_says=streams(), **early(0.85))
    await one.ask(stream=True)
    assert [(judged.beginning, judged.accepted) for judged in one.record.judgements] == [(True, False), (False, False)]
    assert one.headers["model"] == "llm"


@pytest.mark.parametrize("fields", [{"routing": {"hold": "whole"}}, {"response_format": FORM}])
async def test_a_form_or_the_client_s_wish_keeps_the_whole(fields: dict[str, Any]) -> None:
    one = gateway(telling(('{"a"', SURE), (": 1", SURE), ("}", SURE)), **early(0.5))
    await one.ask(stream=True, **fields)
    assert [judged.beginning for judged in one.record.judgements] == [False]


async def test_the_beginning_of_a_call_is_no_text() -> None:
    called = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    parts = [{"index": 0, "delta": {"tool_calls": [called]}, "logprobs": said('{"a": 1}', SURE), "finish_reason": None}]
    calls = json.dumps({"id": "x", "choices": parts}).encode()
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    one = gateway(streams([[calls], [chunk(finish="tool_calls")], [usage_chunk(), DONE]]), **early(0.5))
    await one.ask(stream=True, tools=tools)
    [judged] = one.record.judgements
    assert judged.confidence is not None
    assert list(judged.confidence.fields) == ["/a"]


async def test_an_error_before_the_verdict_is_the_next_rung_s_turn() -> None:
    one = gateway(telling(("Pa", SURE), then=[UpstreamFailed("gone")]), large_says=streams())
    assert texts(await one.ask(stream=True)) == "Paris."
    assert one.steps == [("slm", "llm", "upstream_error")]
