from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import UpstreamFailed
from router.record import Attempt, Escalation, RequestRecord
from router.types import Decision, Reply, Usage
from server.relay import relay, smallfirst_headers, usd
from tests.support.fakes import HOURS, TOKENS, large


def record(**fields: Any) -> RequestRecord:
    attempt = Attempt("slm", "slm/0", HOURS, answered=True, usage=Usage(10, 0, 5), busy_s=0.002)
    given_ = {"route": "auto", "model": "slm", "structured": "none", "decision": Decision(0, "fixed"),
              "attempts": [attempt], "fallback": large(price=TOKENS)}  # fmt: skip
    return RequestRecord("req_1", 0.0, **(given_ | fields))


class Client:
    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        await self.may_go_on.wait()

    @property
    def headers(self) -> dict[str, str]:
        assert self.messages[0]["type"] == "http.response.start"
        pairs = [(name.decode(), value.decode()) for name, value in self.messages[0]["headers"]]
        assert len(dict(pairs)) == len(pairs), "no header twice"
        return dict(pairs)

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])


async def events(*payloads: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
    for payload in payloads:
        yield payload
    if then:
        raise then


async def test_a_whole_answer_leaves_as_it_came() -> None:
    client, one = Client(), record()
    body = b'{"choices": [ "exactly \xe2\x82\xac" ]}'
    await relay(Reply(body=body), one, client.send)
    assert client.body == body
    assert [message.get("more_body", False) for message in client.messages[1:]] == [False]
    assert client.messages[0]["status"] == one.status == 200
    assert client.headers == {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-smallfirst-model": "slm",
        "x-smallfirst-route": "auto",
        "x-smallfirst-reason": "fixed",
        "x-smallfirst-attempts": "1",
        "x-smallfirst-structured": "none",
        "x-smallfirst-cost-usd": "0.000002000",
        "x-smallfirst-saved-usd": "0.000010000",
    }


async def test_nothing_saved_is_shown_as_zero() -> None:
    client = Client()
    attempt = Attempt("llm", "llm/0", TOKENS, answered=True, usage=Usage(10, 0, 5))
    await relay(Reply(body=b"{}"), record(model="llm", attempts=[attempt]), client.send)
    assert client.headers["x-smallfirst-saved-usd"] == "0.000000000"


async def test_unknown_money_is_left_out_rather_than_shown_as_zero() -> None:
    client = Client()
    await relay(Reply(body=b"{}"), record(fallback=None), client.send)
    assert "x-smallfirst-cost-usd" in client.headers
    assert "x-smallfirst-saved-usd" not in client.headers
    client = Client()
    await relay(Reply(body=b"{}"), record(attempts=[Attempt("slm", "slm/0", None, answered=True)]), client.send)
    assert not any(name.endswith("-usd") for name in client.headers)


async def test_a_stream() -> None:
    client = Client()
    await relay(Reply(events=events(b'{"a":1}', b'{"b":\n2}')), record(), client.send)
    start, *rest = client.messages
    assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert not any(name.endswith("-usd") for name in client.headers), "money is known at the end only"
    assert [message["body"] for message in rest[:2]] == [b'data: {"a":1}\n\n', b'data: {"b":\ndata: 2}\n\n']
    assert [message.get("more_body", False) for message in rest] == [True, True, False]
    comment, done, end = rest[-1]["body"].split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    assert comment.startswith(b": smallfirst ")
    assert json.loads(comment.removeprefix(b": smallfirst ")) == {
        "model": "slm", "attempts": 1, "cost_usd": "0.000002000", "saved_usd": "0.000010000",
    }  # fmt: skip
    assert start["status"] == 200


async def test_a_stream_that_breaks_off_has_no_done_and_stays_open_for_the_error() -> None:
    client, one = Client(), record()
    with pytest.raises(UpstreamFailed):
        await relay(Reply(events=events(b"{}", then=UpstreamFailed("cut"))), one, client.send)
    assert client.body == b"data: {}\n\n"
    assert client.messages[-1]["more_body"] is True
    assert one.status == 200, "the answer had begun"


async def test_waits_for_a_slow_client_before_it_takes_the_next_event() -> None:
    taken = []

    async def source() -> AsyncIterator[bytes]:
        for i in range(5):
            taken.append(i)
            yield b"{}"

    client = Client()
    client.may_go_on.clear()
    task = asyncio.ensure_future(relay(Reply(events=source()), record(), client.send))
    for _ in range(5):
        await asyncio.sleep(0)
    assert taken == [], "not even the headers are through"
    client.may_go_on.set()
    await task
    assert taken == [0, 1, 2, 3, 4]


def test_headers_name_the_way_and_what_was_dropped() -> None:
    way = [Escalation("slm", "llm", "structured")]
    one = record(model="llm", escalations=way, structured="escalated", dropped=("min_p", "top_k"))
    headers = {name.decode(): value.decode() for name, value in smallfirst_headers(one)}
    assert headers["x-smallfirst-reason"] == "structured"
    assert headers["x-smallfirst-model"] == "llm"
    assert headers["x-smallfirst-dropped"] == "min_p, top_k"


def test_what_is_not_known_has_no_header() -> None:
    headers = {name.decode() for name, _ in smallfirst_headers(RequestRecord("req_1", 0.0))}
    assert headers == {"x-smallfirst-attempts"}


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0.000000000"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (10**9, "1.000000000"),
        (-1_500_000_000, "-1.500000000"),
    ],
)
def test_usd(nano: int, text: str) -> None:
    assert usd(nano) == text


@given(st.integers(-(10**25), 10**25))
def test_usd_is_exact(nano: int) -> None:
    whole, _, part = usd(nano).partition(".")
    assert len(part) == 9
    assert int(whole + part) == nano
