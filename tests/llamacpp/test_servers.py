"""What the gateway makes of real servers of llama.cpp."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.llamacpp.conftest import ANSWER_S, Server
from tests.support import events
from tests.support.gateway import Gateway
from tests.support.servers import FORMAT, NAMED, TOOLS
from tests.support.upstream import Upstream

pytestmark = pytest.mark.timeout(1800)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]


def ask(gateway: Gateway, path: str = "chat/completions", **fields: Any) -> httpx.Response:
    body = {"model": "slm", "temperature": 0, "max_tokens": 60} | fields
    if path == "chat/completions":
        body.setdefault("messages", QUESTION)
    return gateway.http.post(f"/v1/{path}", json=body, timeout=ANSWER_S)


def answered(response: httpx.Response, structured: str = "none") -> dict[str, Any]:
    """Return the only choice."""
    assert response.status_code == 200, response.text
    assert response.headers["x-smallfirst-structured"] == structured
    [choice] = response.json()["choices"]
    return dict(choice)


def streamed(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    transcript = events.parse(response.content)
    assert transcript.done, response.text
    return [event for event in transcript.events if event["choices"]]


def test_whole_and_streamed_answers_are_the_same(gateway: Gateway) -> None:
    whole = answered(ask(gateway, max_tokens=12))
    parts = streamed(ask(gateway, max_tokens=12, stream=True))
    text = "".join(part["choices"][0]["delta"].get("content") or "" for part in parts)
    assert text == whole["message"]["content"] != ""
    assert [part["choices"][0]["finish_reason"] for part in parts][-1] == whole["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("asked_for", "fits"),
    [
        ({"response_format": FORMAT}, lambda text: isinstance(json.loads(text)["city"], str)),
        ({"response_format": {"type": "json_object"}}, lambda text: isinstance(json.loads(text), dict)),
        ({"guided_choice": ["Rome", 'Paris "é"', "Lyon"]}, lambda text: text in ("Rome", 'Paris "é"', "Lyon")),
        ({"guided_regex": r"^[A-Z][a-z]{3,8}$"}, lambda text: text.isalpha() and 4 <= len(text) <= 9),
        ({"guided_regex": r"(\d{2}[-/]){2}\d{4}"}, lambda text: len(text) == 10),
    ],
    ids=["schema", "object", "choice", "regex", "groups"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_decoding_enforces_a_format(gateway: Gateway, asked_for: Any, fits: Any, stream: bool) -> None:
    if stream:
        parts = streamed(ask(gateway, stream=True, max_tokens=120, **asked_for))
        text = "".join(part["choices"][0]["delta"].get("content") or "" for part in parts)
    else:
        text = answered(ask(gateway, max_tokens=120, **asked_for), "decoded")["message"]["content"]
    assert fits(text)


def test_completions_have_formats_too(gateway: Gateway) -> None:
    choice = answered(ask(gateway, "completions", prompt="The capital is", guided_choice=["Rome", "Oslo"]), "decoded")
    assert choice["text"] in ("Rome", "Oslo")


@pytest.mark.parametrize(("choice", "name"), [("required", "get_weather"), (NAMED, "get_time")])
@pytest.mark.parametrize("stream", [False, True])
def test_decoding_enforces_a_required_call(gateway: Gateway, choice: Any, name: str, stream: bool) -> None:
    """Though the chat template of the model knows no tools."""
    response = ask(gateway, messages=WEATHER, tools=TOOLS, tool_choice=choice, stream=stream)
    if stream:
        deltas = [part["choices"][0]["delta"] for part in streamed(response)]
        [call] = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    else:
        [call] = answered(response, "repaired")["message"]["tool_calls"]
    assert call["function"]["name"] == name
    assert [*json.loads(call["function"]["arguments"])] == ["city" if name == "get_weather" else "zone"]


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(gateway: Gateway, stream: bool) -> None:
    response = ask(gateway, logprobs=True, max_tokens=4, stream=stream)
    choices = [part["choices"][0] for part in streamed(response)] if stream else [answered(response)]
    tokens = [token for choice in choices for token in (choice.get("logprobs") or {}).get("content") or ()]
    assert len(tokens) == 4
    assert all(token["logprob"] <= 0 for token in tokens)


def test_logprobs_of_completions(gateway: Gateway) -> None:
    choice = answered(ask(gateway, "completions", prompt="The capital of France is", max_tokens=3, logprobs=1))
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    assert len(logprobs["token_logprobs"]) == len(logprobs["text_offset"]) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_cascade_judges_its_answers(gateway: Gateway, stream: bool) -> None:
    response = ask(gateway, model="sure", max_tokens=4, stream=stream)
    assert response.headers["x-smallfirst-model"] == "slm"
    assert '"logprobs": {' not in response.text, "only the judge asked for them"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_goes_to_the_next_rung(gateway: Gateway, stream: bool) -> None:
    long = [{"role": "user", "content": "a b " * 3000}]
    response = ask(gateway, model="auto", messages=long, stream=stream)
    assert (response.headers["x-smallfirst-model"], response.headers["x-smallfirst-reason"]) == ("big", "context")
    error = ask(gateway, messages=long, stream=stream).json()["error"]
    assert error["code"] == "context_length_exceeded"


def test_more_answers_than_it_can_give_go_to_the_next_rung(gateway: Gateway) -> None:
    assert ask(gateway, n=5).json()["error"]["code"] == "unsupported_by_model"
    assert ask(gateway, model="auto", n=5).headers["x-smallfirst-reason"] == "ability"


def test_a_fault_of_the_request_is_none_of_the_server(gateway: Gateway, server: Server) -> None:
    field = "mirostat" if server.is_llama_server else "mirostat_mode"
    response = ask(gateway, **{field: "high"})
    assert response.status_code == 400
    assert field in response.json()["error"]["message"]
    assert "site-packages" not in response.text
    answered(ask(gateway, max_tokens=2))


@pytest.mark.parametrize(
    "fields",
    [
        {"grammar": "root ::= ("},
        {"guided_grammar": 'root ::= [a-z]{1,3000}'},
        {"guided_json": {"type": "object", "properties": {"a": {"pattern": r"^\w+\s\d{3}$"}}, "required": ["a"]}},
        {"guided_json": {"type": "object", "properties": {"a": {"const": 'x"y'}}, "required": ["a"]}},
        {"guided_json": {"type": "array", "items": {"type": "string", "maxLength": 50_000}}},
    ],
)  # fmt: skip
def test_no_format_of_a_client_ends_the_server(gateway: Gateway, server: Server, fields: Any) -> None:
    ask(gateway, max_tokens=20, **fields)
    answered(ask(gateway, max_tokens=2))
    assert server.process.poll() is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_server(gateway: Gateway, server: Server, stream: bool) -> None:
    body = {"model": "slm", "messages": QUESTION, "max_tokens": 1500 if server.is_llama_server else 150}
    body |= {"stream": stream, "ignore_eos": True}
    if stream:
        with gateway.http.stream("POST", "/v1/chat/completions", json=body, timeout=ANSWER_S) as response:
            next(response.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            gateway.http.post("/v1/chat/completions", json=body, timeout=1.0)
    server.wait_idle()


def test_the_large_model_was_asked_only_when_it_should_be(large: Upstream, gateway: Gateway) -> None:
    before = len(large.site("big").calls)
    assert answered(ask(gateway, model="auto", max_tokens=4))["message"]["content"]
    assert len(large.site("big").calls) == before
