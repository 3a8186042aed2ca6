"""The OpenAI SDK against a real small model on a real engine."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.support.caller import Caller
from tests.support.events import parse
from tests.support.gateway import Gateway
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until
from tests.vllm.conftest import ANSWER_S, MODEL, Engine

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: Any = {"temperature": 0, "max_tokens": 20}
EXTRACT: Any = [
    {"role": "user", "content": "Extract name, age and city as JSON: John Smith is 42 years old and lives in Paris."}
]
TOO_LONG: Any = [{"role": "user", "content": "word " * 3000}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "weather of a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Person(BaseModel):
    name: str
    age: int
    city: str


PERSON: Any = {"type": "json_schema", "json_schema": {"name": "p", "schema": Person.model_json_schema()}}


def test_while_it_starts_ready_says_so(gateway: Gateway) -> None:
    body = gateway.at_first.json()
    assert body["models"][MODEL]["up"] == 0
    assert body["models"][MODEL]["detail"]
    assert gateway.http.get("/ready").json() == {
        "status": "ready",
        "models": {MODEL: {"replicas": 1, "up": 1, "restarts": 0}, "big": {"replicas": 1, "up": 1, "restarts": 0}},
        "left_out": [],
    }


def test_a_chat(client: OpenAI, gateway: Gateway) -> None:
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=QUESTION, **GREEDY)
    reply = raw.parse()
    assert "Paris" in (reply.choices[0].message.content or "")
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == MODEL
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0
    assert raw.headers["x-smallfirst-model"] == MODEL
    assert raw.headers["x-smallfirst-reason"] == "fixed"
    assert float(raw.headers["x-smallfirst-cost-usd"]) > 0, "busy seconds of a replica priced by the hour"


def test_a_stream_says_the_same_as_a_whole_answer(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="auto", messages=QUESTION, **GREEDY)
    chunks = list(
        client.chat.completions.create(
            model="auto", messages=QUESTION, stream=True, stream_options={"include_usage": True}, **GREEDY
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def test_a_stream_on_the_wire(gateway: Gateway) -> None:
    body = {"model": "auto", "messages": QUESTION, "stream": True, **GREEDY}
    transcript = parse(gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S).content)
    assert transcript.done
    assert transcript.usages == [], "not asked for"
    assert transcript.order[-2:] == ["comment", "done"]
    assert transcript.summary["model"] == MODEL
    assert float(transcript.summary["cost_usd"]) > 0


async def test_many_at_once_asynchronously(gateway: Gateway) -> None:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=ANSWER_S) as client:

        async def stream() -> str:
            events = await client.chat.completions.create(model="auto", messages=QUESTION, stream=True, **GREEDY)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in events])

        async def whole() -> str:
            reply = await client.chat.completions.create(model="auto", messages=QUESTION, **GREEDY)
            return reply.choices[0].message.content or ""

        texts = await asyncio.gather(*(job() for _ in range(4) for job in (stream, whole)))
    assert len(texts) == 8
    assert len(set(texts)) == 1
    assert "Paris" in texts[0]


def test_parse_into_a_pydantic_model(client: OpenAI) -> None:
    reply = client.chat.completions.parse(
        model="auto", messages=EXTRACT, response_format=Person, temperature=0, max_tokens=120
    )
    person = reply.choices[0].message.parsed
    assert person is not None
    assert "John" in person.name
    assert person.age == 42


def test_a_streamed_schema_answer(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="auto", messages=EXTRACT, response_format=Person, temperature=0, max_tokens=120
    ) as events:
        deltas = [event.delta for event in events if event.type == "content.delta"]
        final = events.get_final_completion()
    parsed = final.choices[0].message.parsed
    assert parsed == Person.model_validate_json("".join(deltas))
    assert len(deltas) > 3, "it came in pieces"
    assert parsed.age == 42


def test_json_object(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=EXTRACT, response_format={"type": "json_object"}, temperature=0, max_tokens=120
    )
    assert isinstance(json.loads(raw.parse().choices[0].message.content), dict)
    assert raw.headers["x-smallfirst-structured"] == "decoded"


def test_a_structured_answer_that_is_cut_says_so(client: OpenAI) -> None:
    reply = client.chat.completions.create(
        model=MODEL,
        messages=EXTRACT,
        temperature=0,
        max_tokens=5,
        response_format={"type": "json_schema", "json_schema": {"name": "p", "schema": Person.model_json_schema()}},
    )
    assert reply.choices[0].finish_reason == "length"


def test_what_decoding_enforces_leaves_as_it_is_decoded(gateway: Gateway) -> None:
    body = {"model": MODEL, "messages": EXTRACT, "response_format": PERSON, "stream": True, **GREEDY}
    body["max_tokens"] = 120
    with gateway.http.stream("POST", "/v1/chat/completions", json=body, timeout=ANSWER_S) as response:
        pieces = list(response.iter_raw())
    assert response.headers["x-smallfirst-structured"] == "decoded"
    assert len(pieces) > 10, "a held answer would come in one piece"
    assert pieces[-1].endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_that_decoding_enforces_in_part_is_kept_or_refused(gateway: Gateway, stream: bool) -> None:
    schema = {**Person.model_json_schema(), "not": {"required": ["title"]}}
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": schema}}
    body = {"model": MODEL, "messages": EXTRACT, "response_format": form, "stream": stream, **GREEDY, "max_tokens": 120}
    response = gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S)
    assert response.status_code in (200, 502)
    if response.status_code == 200 and not stream:
        said = json.loads(response.json()["choices"][0]["message"]["content"])
        assert Person.model_validate(said)
        assert "title" not in said


@pytest.mark.parametrize(
    ("field", "value", "valid"),
    [
        ("guided_regex", "(yes|no), [a-z]{3,5}[.]", r"(yes|no), [a-z]{3,5}[.]"),
        ("guided_choice", ["red green", "blue"], "red green|blue"),
        ("structured_outputs", {"choice": ["été", "hiver"]}, "été|hiver"),
        ("guided_grammar", 'root ::= "a" ("b" | "c")', "a[bc]"),
        ("structured_outputs", {"grammar": 'start: "x" | "y" "z"'}, "x|yz"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_regex_choice_and_grammar(client: OpenAI, field: str, value: object, valid: str, stream: bool) -> None:
    options: Any = {"model": "alone", "messages": QUESTION, "extra_body": {field: value}, **GREEDY}
    if stream:
        with client.chat.completions.stream(**options) as events:
            reply: Any = events.get_final_completion()
    else:
        reply = client.chat.completions.create(**options)
    assert re.fullmatch(valid, reply.choices[0].message.content)


def test_the_older_name_of_a_schema(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="alone", messages=EXTRACT, extra_body={"guided_json": Person.model_json_schema()}, temperature=0,
        max_tokens=120,
    )  # fmt: skip
    assert Person.model_validate_json(raw.parse().choices[0].message.content or "").age == 42
    assert raw.headers["x-smallfirst-structured"] == "decoded"


def test_a_cut_answer_gets_more_room_where_that_is_wanted(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=EXTRACT, response_format=PERSON, temperature=0, max_tokens=20,
        extra_body={"routing": {"on_truncation": "retry"}},
    )  # fmt: skip
    assert Person.model_validate_json(raw.parse().choices[0].message.content or "").age == 42
    assert (raw.headers["x-smallfirst-structured"], raw.headers["x-smallfirst-attempts"]) == ("retried", "2")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_call_says_so(gateway: Gateway, choice: object, stream: bool) -> None:
    body = {"model": MODEL, "messages": QUESTION, "tools": [WEATHER], "tool_choice": choice, "stream": stream}
    response = gateway.http.post("/v1/chat/completions", json=body | GREEDY | {"max_tokens": 4}, timeout=ANSWER_S)
    assert response.status_code == 200
    assert '"finish_reason":"length"' in response.text.replace(" ", "")
    assert '"finish_reason":"tool_calls"' not in response.text.replace(" ", "")


@pytest.mark.parametrize("stream", [False, True])
def test_required_tools(client: OpenAI, stream: bool) -> None:
    question: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    options: Any = {"model": "auto", "messages": question, "tools": [WEATHER], "tool_choice": "required"}
    options |= {"temperature": 0, "max_tokens": 120}
    if stream:
        with client.chat.completions.stream(**options) as events:
            reply = events.get_final_completion()
    else:
        reply = client.chat.completions.create(**options)
    calls = reply.choices[0].message.tool_calls
    assert calls
    assert calls[0].id
    assert calls[0].function.name == "get_weather"
    assert set(json.loads(calls[0].function.arguments)) == {"city"}


def test_logprobs(client: OpenAI) -> None:
    reply = client.chat.completions.create(
        model="auto", messages=QUESTION, logprobs=True, top_logprobs=2, temperature=0, max_tokens=3
    )
    assert reply.choices[0].logprobs is not None
    tokens = reply.choices[0].logprobs.content
    assert tokens is not None
    assert len(tokens) == 3
    assert "".join(token.token for token in tokens) == reply.choices[0].message.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)


def test_two_choices(client: OpenAI) -> None:
    reply = client.chat.completions.create(model="auto", messages=QUESTION, n=2, temperature=1, seed=3, max_tokens=10)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert all(choice.message.content for choice in reply.choices)


def test_stop(client: OpenAI) -> None:
    reply = client.chat.completions.create(model="auto", messages=QUESTION, stop=["Paris"], **GREEDY)
    assert reply.choices[0].finish_reason == "stop"
    assert "capital" in (reply.choices[0].message.content or "")
    assert "Paris" not in (reply.choices[0].message.content or "")


def test_a_seed_repeats_and_seeds_differ(client: OpenAI) -> None:
    def say(seed: int) -> str | None:
        reply = client.chat.completions.create(
            model="auto", messages=QUESTION, seed=seed, temperature=1.5, max_tokens=16
        )
        return reply.choices[0].message.content

    assert say(11) == say(11)
    assert len({say(seed) for seed in (1, 2, 3)}) > 1


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_limit(client: OpenAI, limit: str) -> None:
    options: Any = {limit: 2}
    reply = client.chat.completions.create(model="auto", messages=QUESTION, temperature=0, **options)
    assert reply.usage is not None
    assert (reply.usage.completion_tokens, reply.choices[0].finish_reason) == (2, "length")


def test_the_developer_role_is_the_system_role(client: OpenAI) -> None:
    def say(role: Any) -> str | None:
        messages: Any = [{"role": role, "content": "You answer with one word."}, *QUESTION]
        return client.chat.completions.create(model="auto", messages=messages, **GREEDY).choices[0].message.content

    assert say("developer") == say("system")


def test_fields_that_only_vllm_knows(client: OpenAI) -> None:
    reply = client.chat.completions.create(
        model="auto", messages=QUESTION, extra_body={"top_k": 1, "return_token_ids": True}, max_tokens=5
    )
    assert len(reply.choices[0].token_ids) == 5  # type: ignore[attr-defined]


def test_completions(client: OpenAI) -> None:
    reply = client.completions.create(model="auto", prompt="The capital of France is", **GREEDY)
    assert reply.object == "text_completion"
    assert "Paris" in reply.choices[0].text
    events = client.completions.create(model="auto", prompt="The capital of France is", stream=True, **GREEDY)
    assert "".join(event.choices[0].text for event in events) == reply.choices[0].text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [MODEL, "alone"])
def test_too_long_a_prompt_is_a_400(client: OpenAI, model: str, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=TOO_LONG, stream=stream)
    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_a_prompt_goes_to_the_fallback(gateway: Gateway, fallback: Upstream, stream: bool) -> None:
    body = {"model": "auto", "messages": TOO_LONG, "stream": stream}
    response = gateway.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 200
    assert response.headers["x-smallfirst-model"] == "big"
    assert response.headers["x-smallfirst-reason"] == "context"
    assert fallback.site("big").last.json["messages"] == TOO_LONG


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["alone", "auto", "big", "early", MODEL, "voting"]
    assert client.models.retrieve(MODEL).id == MODEL


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_the_generation(gateway: Gateway, engine: Engine, stream: bool) -> None:
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 1900, "ignore_eos": True, "stream": stream}
    before = engine.tokens()
    with Caller(gateway, body) as caller:
        if stream:
            caller.socket.settimeout(ANSWER_S)
            caller.read_until(b'"content"')
        engine.wait_running(1)
        caller.leave()
        engine.wait_running(0)
    assert engine.tokens() - before < 1000, "it stopped long before its end"


def test_the_counters_know_the_tokens(gateway: Gateway, client: OpenAI) -> None:
    labels = {"model": MODEL, "kind": "completion"}
    before = gateway.metrics().value("smallfirst_tokens_total", **labels)
    reply = client.chat.completions.create(model="auto", messages=QUESTION, **GREEDY)
    assert reply.usage is not None
    expected = before + reply.usage.completion_tokens
    wait_until(lambda: gateway.metrics().value("smallfirst_tokens_total", **labels) == expected)


def test_the_start_said_how_to_use_it(gateway: Gateway) -> None:
    assert f"ready at {gateway.url}/v1" in gateway.output
