"""The upstream's own 4xx are the client's; what concerns our account there is not."""

from __future__ import annotations

import pytest

from tests.support.behaviours import error, respond, stream
from tests.support.lanes import UPSTREAM_KEY, Lane, usual
from tests.support.stream_events import DONE

describe = usual


@pytest.mark.parametrize(
    ("status", "kind", "code", "param"),
    [
        (400, "invalid_request_error", "invalid_value", "temperature"),
        (400, "invalid_request_error", None, None),
        (404, "invalid_request_error", "model_not_found", "model"),
        (409, "conflict_error", "conflict", None),
        (413, "invalid_request_error", "request_too_large", None),
        (422, "invalid_request_error", "unprocessable", "messages.0"),
        (429, "insufficient_quota", "insufficient_quota", None),
        (429, "requests", "rate_limit_exceeded", None),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_4xx_keeps_status_code_and_words(
    lane: Lane, streamed: bool, status: int, kind: str, code: str | None, param: str | None
) -> None:
    lane.llm.always(error(status, "the upstream's own words", kind=kind, code=code, param=param))
    reply = lane.stream("llm") if streamed else lane.chat("llm")
    assert reply.status == status
    assert reply.error["message"] == "the upstream's own words"
    assert (reply.error["type"], reply.error["code"], reply.error["param"]) == (kind, code, param)


def test_vllms_numeric_code_becomes_openais(lane: Lane) -> None:
    lane.slm.then(error(400, "temperature must be non-negative", kind="BadRequestError", code=400))
    reply = lane.chat("slm")
    assert reply.status == 400
    assert reply.error["type"] == "invalid_request_error"
    assert reply.error["code"] is None or isinstance(reply.error["code"], str)
    assert "temperature" in reply.error["message"]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_refusal_of_our_key_is_not_the_clients(lane: Lane, status: int, streamed: bool) -> None:
    lane.llm.always(error(status, f"Incorrect API key provided: {UPSTREAM_KEY}", code="invalid_api_key"))
    reply = lane.stream("llm") if streamed else lane.chat("llm")
    assert reply.status == 502
    assert reply.error["code"] != "invalid_api_key"
    assert UPSTREAM_KEY not in reply.response.text
    assert lane.name("llm") in reply.error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        "<html>nope</html>",
        "null",
        "[]",
        '"text"',
        '{"error": "as text"}',
        '{"detail": "Not Found"}',
        '{"error": null}',
    ],
)
def test_a_4xx_in_another_shape_gets_ours(lane: Lane, body: bytes | str) -> None:
    lane.slm.then(respond(404, body))
    reply = lane.chat("slm")
    assert reply.status == 404
    assert reply.error["message"]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"retry-after": "3"}, (3, 3)),
        ({"retry-after-ms": "2500"}, (3, 3)),
        ({}, (1, 5)),
        ({"retry-after": "soon"}, (1, 5)),
        ({"retry-after": "-5"}, (0, 5)),
        ({"retry-after": "nan"}, (0, 5)),
        ({"retry-after": "1e999"}, (0, 3600)),
    ],
    ids=str,
)
def test_a_429_says_when_to_come_back(lane: Lane, given: dict[str, str], seconds: tuple[int, int]) -> None:
    lane.llm.always(error(429, "slow down", code="rate_limit_exceeded", headers=given))
    reply = lane.chat("llm")
    assert reply.status == 429
    low, high = seconds
    assert low <= int(reply.headers["retry-after"]) <= high


def test_an_upstreams_long_html_is_not_the_clients_message(lane: Lane) -> None:
    lane.llm.always(respond(500, "<html>" + "x" * 100_000, {"content-type": "text/html"}))
    reply = lane.chat("llm")
    assert reply.status == 502
    assert len(reply.response.content) < 2000


@pytest.mark.parametrize("streamed", [False, True])
def test_too_long_a_prompt_has_openais_code_whoever_says_it(lane: Lane, streamed: bool) -> None:
    words = "This model's maximum context length is 8192 tokens. However, you requested 9000."
    lane.slm.always(error(400, words, kind="BadRequestError", code=400))
    lane.llm.always(error(400, words, kind="invalid_request_error", code="context_length_exceeded", param="messages"))
    reply = lane.stream() if streamed else lane.chat()
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")
    assert reply.error["type"] == "invalid_request_error"
    assert len(lane.llm.calls) == 1, "the larger one was asked"


def test_a_400_as_the_first_event_of_a_stream_is_a_400(lane: Lane) -> None:
    event = {"error": {"message": "the tokenizer says no", "type": "BadRequestError", "param": None, "code": 400}}
    lane.slm.always(stream(event, DONE))
    reply = lane.stream("slm")
    assert reply.status == 400
    assert "the tokenizer says no" in reply.error["message"]


def test_our_key_never_shows_in_what_an_upstream_echoes(lane: Lane) -> None:
    lane.llm.always(error(500, f"internal: header was Bearer {UPSTREAM_KEY}"))
    assert UPSTREAM_KEY not in lane.chat("llm").response.text
    lane.llm.always(error(400, f"bad header: Bearer {UPSTREAM_KEY}"))
    assert UPSTREAM_KEY not in lane.chat("llm").response.text
