"""A real engine's logprobs decide which of its answers are kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import OpenAI

from tests.support.behaviours import answer
from tests.support.events import parse
from tests.support.gateway import Gateway
from tests.support.upstream import Upstream
from tests.vllm.conftest import ANSWER_S, MODEL
from tests.vllm.test_serving import EXTRACT, GREEDY, PERSON, QUESTION, WEATHER

LAX, STRICT = {"policy": "cascade", "min_confidence": 1e-9}, {"policy": "cascade", "min_confidence": 1.0}
CALL: Any = {
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "tools": [WEATHER],
    "tool_choice": "required",
}
"""which the small model ends soon; a call that is cut is an empty answer, and none to judge"""


def ask(gateway: Gateway, **fields: Any) -> Any:
    body = {"model": "auto", "messages": QUESTION, **GREEDY, **fields}
    return gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S)


def confidence(response: Any) -> float:
    return float(response.headers["x-smallfirst-confidence"])


@pytest.mark.parametrize(
    "fields", [{}, {"messages": EXTRACT, "response_format": PERSON}, CALL], ids=["text", "form", "call"]
)
def test_the_engine_tells_how_sure_it_is_and_the_client_is_spared_it(gateway: Gateway, fields: dict[str, Any]) -> None:
    asked = {"max_tokens": 60, **fields}
    kept = ask(gateway, routing=LAX, **asked)
    assert kept.headers["x-smallfirst-model"] == MODEL
    assert 0 < confidence(kept) < 1
    plain = ask(gateway, **asked)
    ids = {"id", "created", "choices", "prompt_token_ids"}
    assert kept.json().keys() == plain.json().keys()
    assert {k: v for k, v in kept.json().items() if k not in ids} == {
        k: v for k, v in plain.json().items() if k not in ids
    }
    [mine], [theirs] = kept.json()["choices"], plain.json()["choices"]
    for one in (mine, theirs):
        for call in one["message"].get("tool_calls") or ():
            call.pop("id")
    assert mine == theirs


@pytest.mark.parametrize(
    "fields", [{}, {"messages": EXTRACT, "response_format": PERSON, "max_tokens": 60}], ids=["text", "form"]
)
def test_a_stream_is_judged_as_the_whole_answer_is(gateway: Gateway, fields: dict[str, Any]) -> None:
    whole = ask(gateway, routing=LAX, **fields)
    streamed = ask(gateway, routing=LAX, stream=True, **fields)
    assert confidence(streamed) == pytest.approx(confidence(whole), abs=0.01)
    assert parse(streamed.content).text == whole.json()["choices"][0]["message"]["content"]
    assert b'logprob"' not in streamed.content


def test_values_are_surer_than_all_of_a_form(gateway: Gateway) -> None:
    asked = {"messages": EXTRACT, "response_format": PERSON, "max_tokens": 60}
    reply = ask(gateway, routing=LAX, logprobs=True, **asked)
    tokens = reply.json()["choices"][0]["logprobs"]["content"]
    assert tokens
    assert confidence(reply) == confidence(ask(gateway, routing=LAX, **asked))


@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_not_sure_enough_is_the_large_model_s_turn(
    gateway: Gateway, fallback: Upstream, streamed: bool
) -> None:
    fallback.site("big").always(answer("It is Paris."))
    reply = ask(gateway, routing=STRICT, stream=streamed)
    assert reply.headers["x-smallfirst-model"] == "big"
    assert reply.headers["x-smallfirst-reason"] == "confidence"
    assert "It is Paris." in reply.text


def test_completions_tell_it_too(gateway: Gateway, client: OpenAI) -> None:
    body = {"model": "auto", "prompt": "The capital of France is", "max_tokens": 4, "temperature": 0, "routing": LAX}
    reply = gateway.http.post("/v1/completions", json=body, timeout=ANSWER_S)
    assert 0 < confidence(reply) < 1
    assert reply.json()["choices"][0]["logprobs"] is None


def test_samples_of_the_engine_vote(gateway: Gateway) -> None:
    yes_or_no = {"structured_outputs": {"choice": ["yes", "no"]}}
    reply = ask(gateway, model="voting", **yes_or_no)
    assert confidence(reply) in (pytest.approx(3 / 5, abs=1e-3), pytest.approx(4 / 5, abs=1e-3))
    [choice] = reply.json()["choices"]
    assert choice["message"]["content"] in ("yes", "no")
    assert json.loads(reply.text)["usage"]["completion_tokens"] >= 3
