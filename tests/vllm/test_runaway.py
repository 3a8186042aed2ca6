"""A real small model that repeats itself: without a token limit its answer would fill the context.

Minutes on two cores: `make test-engines` runs these, `make test` does not.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.events import parse
from tests.support.gateway import Gateway
from tests.vllm.conftest import ANSWER_S, Engine

pytestmark = pytest.mark.engines

CONTEXT = 2048
COLOURS: Any = [{"role": "user", "content": "List the colours of the rainbow as JSON."}]
"""asked for strings, the model begins a version number and repeats `1.0.0/`"""


def of_items(**schema: Any) -> dict[str, Any]:
    schema = {"type": "array", **schema}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "items", "schema": schema}}}


def test_a_whole_answer_that_repeats_itself_is_stopped_early(gateway: Gateway, engine: Engine) -> None:
    before = engine.tokens()
    body = {"model": "alone", "messages": COLOURS, "temperature": 0, **of_items(items={"type": "string"})}
    reply = gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S)
    attempts = int(reply.headers["x-smallfirst-attempts"])
    assert attempts == 2
    assert "=runaway" in reply.headers["x-smallfirst-failed"]
    assert engine.tokens() - before < attempts * CONTEXT / 2


def test_a_stream_that_repeats_itself_is_stopped_early(gateway: Gateway, engine: Engine) -> None:
    before = engine.tokens()
    body = {
        "model": "alone",
        "messages": COLOURS,
        "temperature": 0,
        "stream": True,
        **of_items(items={"type": "string"}),
    }
    transcript = parse(gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S).content)
    assert "does not end" in (transcript.error or {})["message"]
    assert not transcript.done
    assert engine.tokens() - before < CONTEXT * 0.7


def test_a_long_list_of_equal_numbers_is_an_answer(gateway: Gateway) -> None:
    zeros = {"structured_outputs": {"regex": "0(, 0){400}"}}
    body = {"model": "alone", "messages": COLOURS, "temperature": 0, **zeros}
    reply = gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S)
    assert reply.json()["choices"][0]["message"]["content"] == ", ".join(["0"] * 401)
    assert reply.headers["x-smallfirst-structured"] == "retried"
