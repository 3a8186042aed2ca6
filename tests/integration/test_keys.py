"""Who may call, and that no secret ever shows: not a client's key, not a provider's, not a prompt."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.conftest import Command
from tests.support.behaviours import CUT, answer, error, raw, stream
from tests.support.gateway import Gateway
from tests.support.lanes import QUESTION, UPSTREAM_KEY, Lane, error_of, usual
from tests.support.stream_events import delta, first

describe = usual
LANES = 20
KEYS = ("sk-client-canary-a1", "sk-client-canary-b2")
ENV = {"SMALLFIRST_API_KEYS": " , ".join(KEYS)}
WRONG = "sk-wrong-canary-c3"
PROMPT = "a prompt canary 7f3e"
ANSWER = "an answer canary 9b1c"
PATHS = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/auto-0"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": f"Bearer {WRONG}"},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {KEYS[0]}"},
        {"authorization": f"Bearer {KEYS[0]}x"},
        {"authorization": f"Bearer {KEYS[0][:-1]}"},
        {"authorization": f"Bearer {KEYS[0]},{KEYS[1]}"},
    ],
    ids=["none", "wrong", "empty", "basic", "longer", "shorter", "both in one"],
)
def test_no_key_or_a_wrong_one_is_a_401(
    gateway: Gateway, lane: Lane, method: str, path: str, headers: dict[str, str]
) -> None:
    response = httpx.request(method, gateway.url + path, headers=headers, json=lane.body(), trust_env=False)
    assert response.status_code == 401
    error = error_of(response)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
    assert "canary" not in response.text
    assert lane.slm.calls == []


@pytest.mark.parametrize("key", KEYS)
def test_every_configured_key_works(gateway: Gateway, lane: Lane, key: str) -> None:
    for headers in ({"authorization": f"Bearer {key}"}, {"authorization": f"bearer {key}"}, {"api-key": key}):
        response = httpx.post(f"{gateway.url}/v1/chat/completions", headers=headers, json=lane.body(), trust_env=False)
        assert response.status_code == 200


def test_health_needs_no_key(gateway: Gateway) -> None:
    for path in ("/health", "/ready"):
        assert httpx.get(gateway.url + path, trust_env=False).status_code == 200


def test_a_wrong_key_is_refused_before_the_body_is_judged(gateway: Gateway) -> None:
    response = httpx.post(f"{gateway.url}/v1/chat/completions", content=b"{", trust_env=False)
    assert response.status_code == 401


def test_no_secret_shows_anywhere(gateway: Gateway, lane: Lane) -> None:
    """Drives every kind of outcome, then looks through all that the gateway said."""
    prompt = {"messages": [{"role": "user", "content": PROMPT}]}
    shown: list[str] = []
    lane.slm.then(
        answer(ANSWER),
        error(500, f"upstream says {PROMPT}"),
        raw(CUT),
        stream(first(), delta(ANSWER), CUT),
        error(401, "key refused"),
    )
    lane.llm.always(answer("fine"))
    assert lane.chat(**prompt).text == ANSWER
    shown += [lane.chat(**prompt).response.text for _ in range(2)]
    lane.stream(**prompt)
    shown.append(lane.chat(**prompt).response.text)
    lane.llm.always(error(401, f"Incorrect API key provided: {UPSTREAM_KEY}"))
    shown.append(lane.chat("llm", **prompt).response.text)
    shown.append(lane.chat(temperature=PROMPT, **prompt).response.text)
    shown.append(lane.chat(model="auto", messages=PROMPT).response.text)
    wrong = {"authorization": f"Bearer {WRONG}"}
    shown.append(httpx.post(f"{gateway.url}/v1/chat/completions", headers=wrong, json={}, trust_env=False).text)
    shown.append(httpx.get(f"{gateway.url}/v1/models?api_key={WRONG}", headers=wrong, trust_env=False).text)
    shown += [gateway.metrics().text, gateway.http.get("/ready").text, gateway.output]
    everything = "\n".join(shown)
    for secret in (*KEYS, UPSTREAM_KEY, WRONG):
        assert secret not in everything
    for private in (PROMPT, ANSWER):
        assert private not in gateway.output
        assert private not in gateway.metrics().text


ONE_MODEL = "models: {m: {tier: slm, engine: vllm, base_url: http://127.0.0.1:9/v1}}"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_without_keys_only_loopback_is_served(smallfirst: Command, host: str) -> None:
    done = smallfirst("serve", ONE_MODEL, "--host", host, "--port", "0")
    assert done.code == 2
    assert host in done.stderr
    assert "SMALLFIRST_API_KEYS" in done.stderr


@pytest.mark.parametrize("keys", ["sh0rt", "good-key-1,,good-key-2", "with space in it", "good-key-1,", "schlüssel1"])
def test_keys_that_cannot_be_meant_stop_the_start(smallfirst: Command, keys: str) -> None:
    done = smallfirst("serve", ONE_MODEL, "--port", "0", SMALLFIRST_API_KEYS=keys)
    assert done.code == 2
    assert "SMALLFIRST_API_KEYS" in done.stderr
    for key in keys.split(","):
        assert not key or key not in done.stderr


def test_a_question_is_not_in_the_log(lane: Lane) -> None:
    assert lane.chat().status == 200
    assert QUESTION[0]["content"] not in lane.gateway.output
