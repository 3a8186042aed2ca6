from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decision import Decision
from router.dispatcher import Dispatcher
from router.errors import UpstreamFailed
from router.policy.route_policies import RoutePolicies
from router.profile.learned import LearnedProfiles
from router.record import Attempt, Escalation, RequestRecord
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import Reply, Usage
from server.admission import Admission
from server.auth import Keyring
from server.endpoints.chat import CHAT_ENDPOINT
from server.endpoints.text import TextHandler
from server.http import envelope
from server.http.disconnect import DisconnectWatch
from server.http.relay import relay, smallfirst_headers, usd
from tests.support.fakes import (
    HOURS,
    ROLE,
    TOKENS,
    FakeUpstream,
    answers,
    chunk,
    config,
    large,
    model,
    pool,
    refuses,
    streams,
    usage_chunk,
)


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


async def events(*payloads: bytes, then: Exception | None = None) -> AsyncIterator[list[bytes]]:
    for payload in payloads:
        yield [payload]
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
        "model": "slm", "reason": "fixed", "confidence": None, "attempts": 1, "structured": "none",
        "cost_usd": "0.000002000", "saved_usd": "0.000010000",
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

    async def source() -> AsyncIterator[list[bytes]]:
        for i in range(5):
            taken.append(i)
            yield [b"{}"]

    client = Client()
    client.may_go_on.clear()
    task = asyncio.ensure_future(relay(Reply(events=source()), record(), client.send))
    for _ in range(5):
        await asyncio.sleep(0)
    assert taken == [], "not even the headers are through"
    client.may_go_on.set()
    await task
    assert taken == [0, 1, 2, 3, 4]


def test_headers_name_the_way_and_what_was_adapted() -> None:
    way = [Escalation("slm", "llm", "structured")]
    attempt = Attempt("llm", "llm/0", adapted=("min_p=dropped", "top_k=dropped"))
    one = record(model="llm", escalations=way, structured="escalated", attempts=[attempt])
    headers = {name.decode(): value.decode() for name, value in smallfirst_headers(one)}
    assert headers["x-smallfirst-reason"] == "structured"
    assert headers["x-smallfirst-model"] == "llm"
    assert headers["x-smallfirst-adapted"] == "min_p=dropped, top_k=dropped"


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


# --- the endpoint: what became of a request is told in errors, too


ONE_LARGE = 10 * 400 + 5 * 1600  # nano-dollars of one answer of the fakes by tokens
AS_OBJECT = {"response_format": {"type": "json_object"}}


async def asked(script: dict[str, Any], **fields: Any) -> tuple[Client, RequestRecord]:
    """Send a chat to the endpoint over two models priced by tokens, and return what the client got."""
    models = model(price=TOKENS), large()
    served, pools = config(*models), {one.name: pool(one) for one in models}
    dispatcher = Dispatcher(
        served, RoutePolicies(served), pools, FakeUpstream(script), LearnedProfiles(served.models), GrammarWorkers()
    )
    endpoint = TextHandler(CHAT_ENDPOINT, Keyring([]), Admission(1, 0, 1.0), dispatcher)
    raw = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "x" * 400}]} | fields).encode()
    to_come = [{"type": "http.request", "body": raw}]

    async def receive() -> Any:
        if not to_come:
            await asyncio.Event().wait()  # the client stays
        return to_come.pop()

    client, one = Client(), RequestRecord("req_1", 0.0)
    watch = DisconnectWatch(asyncio.get_running_loop())
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [],
             "extensions": watch.extensions, "state": {envelope.RECORD: one}}  # fmt: skip
    await endpoint(scope, receive, client.send)
    return client, one


async def test_an_error_tells_what_its_attempts_cost() -> None:
    client, one = await asked({"slm-0": [answers("no")], "llm-0": [answers("no")]}, **AS_OBJECT)
    assert client.messages[0]["status"] == 502
    assert json.loads(client.body)["error"]["code"] == "structured_output_violation"
    assert client.headers["x-smallfirst-attempts"] == "4"
    assert client.headers["x-smallfirst-cost-usd"] == usd(4 * ONE_LARGE)
    assert client.headers["x-smallfirst-route"] == "auto"
    assert "x-smallfirst-model" not in client.headers
    assert "x-smallfirst-structured" not in client.headers
    assert "x-smallfirst-saved-usd" not in client.headers, "nobody answered: nothing is saved"
    assert one.outcome == "structured_violation"


async def test_attempts_that_cost_nothing_say_so() -> None:
    client, _ = await asked({"slm-0": [refuses(500)], "llm-0": [refuses(429, retry_after_s=7.0)]})
    assert client.messages[0]["status"] == 429
    assert client.headers["x-smallfirst-attempts"] == "2"
    assert client.headers["x-smallfirst-cost-usd"] == "0.000000000"
    assert client.headers["retry-after"] == "7"


@pytest.mark.parametrize("fields", [{"temperature": "hot"}, {"model": "absent"}, {"n": 0}])
async def test_a_request_that_reached_nobody_has_no_cost(fields: dict[str, Any]) -> None:
    client, one = await asked({}, **fields)
    assert client.messages[0]["status"] in (400, 404)
    assert not any(name.endswith("-usd") for name in client.headers)
    assert client.headers["x-smallfirst-attempts"] == "0"
    assert one.outcome == "client_error"


@pytest.mark.parametrize(
    ("last", "cost"),
    [
        (UpstreamFailed("cut"), 100 * 400 + 1600),  # an estimate: nobody said what it used
        ([], 100 * 400 + 1600),
        ([usage_chunk(7, 3), b"junk"], 7 * 400 + 3 * 1600),
    ],
)
async def test_a_broken_stream_tells_its_cost_before_its_error(last: Any, cost: int) -> None:
    client, one = await asked({"slm-0": [streams([[ROLE, chunk("Pa")], last])]}, stream=True)
    assert client.messages[0]["status"] == 200
    *events, comment, error, end = client.body.split(b"\n\n")
    assert events == [b"data: " + ROLE, b"data: " + chunk("Pa")]
    known = json.loads(comment.removeprefix(b": smallfirst "))
    assert (known["model"], known["attempts"], known["cost_usd"]) == ("slm", 1, usd(cost))
    assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "upstream_error"
    assert end == b""
    assert b"[DONE]" not in client.body
    assert client.messages[-1].get("more_body", False) is False
    assert (one.outcome, one.error_code) == ("upstream_error", "upstream_error")
