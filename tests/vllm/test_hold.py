"""A stream of a real engine waits for its end, flows from a beginning that is sure enough, or does not wait."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.support.behaviours import answer, too_long
from tests.support.events import Transcript, parse
from tests.support.gateway import Gateway
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until
from tests.vllm.conftest import ANSWER_S, MODEL, Engine

STORY = [{"role": "user", "content": "Tell me a long story about a fox and a crow."}]
LONG: Any = {"temperature": 0, "max_tokens": 120, "ignore_eos": True, "stream": True}
SURE_AT_THE_BEGINNING, TOO_MUCH = 0.5, 0.95
"""between them lies what the evidence holds of every beginning; it takes no text of this length for sure"""


@contextmanager
def streamed(gateway: Gateway, **routing: Any) -> Iterator[httpx.Response]:
    body = {"model": "early", "messages": STORY, "routing": routing, **LONG}
    with gateway.http.stream("POST", "/v1/chat/completions", json=body, timeout=ANSWER_S) as response:
        yield response


def read_stream(gateway: Gateway, **routing: Any) -> tuple[httpx.Response, Transcript, list[tuple[bool, bool]]]:
    """Return the response, its stream, and the verdicts on it."""
    with streamed(gateway, **routing) as response:
        content = response.read()
    assert b'logprob"' not in content
    return response, parse(content), judged(gateway, response)


def judged(gateway: Gateway, response: httpx.Response) -> list[tuple[bool, bool]]:
    """Return of each judgement whether it was of the beginning, and whether that was accepted; by the access log."""
    name = response.headers["x-request-id"]

    def logged() -> list[str]:
        return [line for line in gateway.output.splitlines() if name in line and '"learned":' in line]

    wait_until(logged, f"the log says something of {name}")
    found = json.loads(logged()[0])["learned"].get("judged", [])
    return [(one.get("beginning", False), one["accepted"]) for one in found]


@pytest.fixture(scope="module")
def story(gateway: Gateway) -> str:
    """What the small model tells where nothing is held."""
    response, transcript, verdicts = read_stream(gateway, hold="none")
    assert response.headers["x-smallfirst-model"] == MODEL
    assert "x-smallfirst-confidence" not in response.headers
    assert verdicts == []
    return transcript.text


@pytest.mark.parametrize(
    ("routing", "verdicts"),
    [({"hold": "none"}, []), ({"hold": "first", "min_confidence": SURE_AT_THE_BEGINNING}, [(True, True)])],
    ids=["not held", "sure at the beginning"],
)
def test_what_is_not_held_to_its_end_flows_while_the_engine_still_writes(
    gateway: Gateway, engine: Engine, story: str, routing: dict[str, Any], verdicts: list[tuple[bool, bool]]
) -> None:
    with streamed(gateway, **routing) as response:
        pieces = response.iter_raw()
        begun = next(pieces)
        assert engine.running() == 1, "it writes on"
        content = begun + b"".join(pieces)
    assert b'logprob"' not in content
    assert judged(gateway, response) == verdicts
    assert response.headers["x-smallfirst-model"] == MODEL
    assert parse(content).text == story


@pytest.mark.parametrize("hold", ["first", "whole"])
def test_what_is_not_sure_enough_waits_for_its_end_and_is_the_large_model_s_turn(
    gateway: Gateway, fallback: Upstream, hold: str
) -> None:
    fallback.site("big").always(answer("A fox met a crow."))
    response, transcript, verdicts = read_stream(gateway, hold=hold, min_confidence=TOO_MUCH)
    assert response.headers["x-smallfirst-reason"] == "confidence"
    assert transcript.text == "A fox met a crow.", "nothing of the small model's answer has left"
    assert verdicts == [(True, False), (False, False)][hold == "whole" :]


def test_where_nobody_above_can_answer_the_held_answer_leaves_after_all(
    gateway: Gateway, fallback: Upstream, story: str
) -> None:
    fallback.site("big").then(too_long(16))
    response, transcript, verdicts = read_stream(gateway)
    assert response.headers["x-smallfirst-model"] == MODEL
    assert response.headers["x-smallfirst-reason"] == "unsure: context"
    assert transcript.text == story
    assert verdicts == [(True, False), (False, False)]


def test_who_demands_a_confidence_gets_an_error_instead(gateway: Gateway) -> None:
    with streamed(gateway, min_confidence=TOO_MUCH, allow_fallback=False) as response:
        error = json.loads(response.read())["error"]
    assert (response.status_code, error["code"]) == (502, "confidence_too_low")
    assert judged(gateway, response) == [(True, False), (False, False)]
