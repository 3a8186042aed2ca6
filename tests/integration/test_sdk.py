"""The official SDK, as people use it: sync, async, raw, with its own retries."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.support.behaviours import CUT, answer, error, stream, too_long
from tests.support.lanes import QUESTION, Lane, Plan, usual
from tests.support.stream_events import DONE, delta, finished, first

ENV = {"SMALLFIRST_API_KEYS": "sk-of-the-sdk-user"}


def describe(plan: Plan) -> None:
    usual(plan)
    plan.route("alone", "slm")


@pytest.fixture
def client(lane: Lane) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{lane.gateway.url}/v1", api_key=lane.gateway.key, max_retries=0) as made:
        yield made


def test_a_chat(client: OpenAI, lane: Lane) -> None:
    reply = client.chat.completions.create(model=lane.name("auto"), messages=QUESTION)
    assert reply.choices[0].message.content == "Paris."
    assert reply.usage is not None
    assert reply.usage.total_tokens == 12
    assert reply._request_id


def test_a_raw_response_shows_our_headers(client: OpenAI, lane: Lane) -> None:
    raw = client.chat.completions.with_raw_response.create(model=lane.name("auto"), messages=QUESTION)
    assert raw.headers["x-smallfirst-model"] == lane.name("slm")
    assert raw.parse().choices[0].finish_reason == "stop"


def test_a_stream(client: OpenAI, lane: Lane) -> None:
    lane.slm.then(answer(pieces=["Pa", "r", "is."]))
    events = client.chat.completions.create(
        model=lane.name("auto"), messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(events)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Paris."
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 12


async def test_the_async_client(lane: Lane) -> None:
    async with AsyncOpenAI(base_url=f"{lane.gateway.url}/v1", api_key=lane.gateway.key, max_retries=0) as client:
        replies = await asyncio.gather(
            *(client.chat.completions.create(model=lane.name("auto"), messages=QUESTION) for _ in range(20))
        )
        assert {reply.choices[0].message.content for reply in replies} == {"Paris."}
        text = ""
        async for chunk in await client.chat.completions.create(
            model=lane.name("auto"), messages=QUESTION, stream=True
        ):
            text += chunk.choices[0].delta.content or ""
        assert text == "Paris."


def test_completions(client: OpenAI, lane: Lane) -> None:
    assert client.completions.create(model=lane.name("auto"), prompt="x").choices[0].text == "Paris."


def test_extra_body_reaches_the_router_and_the_engine(client: OpenAI, lane: Lane) -> None:
    extra = {"routing": {"allow_fallback": False}, "top_k": 5}
    client.chat.completions.create(model=lane.name("auto"), messages=QUESTION, extra_body=extra)
    assert lane.slm.last.json["top_k"] == 5
    assert "routing" not in lane.slm.last.json


def test_errors_become_the_sdks_own(client: OpenAI, lane: Lane) -> None:
    with pytest.raises(openai.NotFoundError) as not_found:
        client.chat.completions.create(model="unheard-of", messages=QUESTION)
    assert not_found.value.code == "model_not_found"
    assert not_found.value.request_id
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-another-one").models.list()
    lane.slm.then(too_long())
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=lane.name("slm"), messages=QUESTION)
    assert bad.value.code == "context_length_exceeded"
    lane.slm.then(error(429, headers={"retry-after": "7"}))
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model=lane.name("slm"), messages=QUESTION)
    lane.slm.then(error(500), error(500))
    with pytest.raises(openai.InternalServerError) as broken:
        client.chat.completions.create(model=lane.name("slm"), messages=QUESTION)
    assert broken.value.status_code == 502


def test_a_break_in_the_middle_is_an_exception(client: OpenAI, lane: Lane) -> None:
    lane.slm.then(stream(first(), delta("Once"), CUT))
    events = client.chat.completions.create(model=lane.name("auto"), messages=QUESTION, stream=True)
    assert [next(events).choices[0].delta.content for _ in range(2)] == ["", "Once"]
    with pytest.raises(openai.APIError):
        next(events)


def test_the_sdks_retries_times_ours_are_bounded(lane: Lane) -> None:
    lane.slm.always(error(500))
    with (
        OpenAI(base_url=f"{lane.gateway.url}/v1", api_key=lane.gateway.key) as client,
        contextlib.suppress(openai.InternalServerError),
    ):
        client.chat.completions.create(model=lane.name("alone"), messages=QUESTION)
    assert 1 <= len(lane.slm.calls) <= 9


def test_the_sdk_comes_back_after_what_retry_after_says(lane: Lane) -> None:
    refusal = error(429, headers={"retry-after-ms": "50"})
    lane.slm.then(refusal, refusal)  # the gateway waits once
    with OpenAI(base_url=f"{lane.gateway.url}/v1", api_key=lane.gateway.key) as client:
        reply = client.chat.completions.create(model=lane.name("slm"), messages=QUESTION)
    assert reply.choices[0].message.content == "Paris."
    assert len(lane.slm.calls) == 3


def test_the_stream_helper_collects_tool_calls(client: OpenAI, lane: Lane) -> None:
    start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": text}} for text in ('{"a"', ": 1}")]
    events = [first(), delta(tool_calls=[start]), *(delta(tool_calls=[part]) for part in parts)]
    lane.slm.then(stream(*events, finished("tool_calls"), DONE))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with client.chat.completions.stream(model=lane.name("auto"), messages=QUESTION, tools=tools) as helper:
        final = helper.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert (calls[0].function.name, calls[0].function.arguments) == ("f", '{"a": 1}')


def test_leaving_the_iterator_early_stops_the_upstream(client: OpenAI, lane: Lane) -> None:
    lane.slm.then(stream(first(), *(delta("x") for _ in range(5)), *([delta("y" * 60_000)] * 400), finished(), DONE))
    events = client.chat.completions.create(model=lane.name("auto"), messages=QUESTION, stream=True)
    next(iter(events))
    events.close()
    lane.slm.last.wait_closed()
