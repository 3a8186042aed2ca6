"""Everything at once: upstreams fail in every way, clients leave at any moment, and nothing is left behind."""

from __future__ import annotations

import contextlib
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.behaviours import CUT, HANG, RESET, Call, Pause, answer, error, raw, respond, stream
from tests.support.caller import Caller
from tests.support.events import parse
from tests.support.lanes import BRIEF, Lane, Plan
from tests.support.stream_events import DONE, delta, finished, first

REQUESTS = 240
WORKERS = 16
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
BEHAVIOURS = [
    *[answer("{}")] * 8,
    answer("no json"),
    error(500),
    error(503),
    error(429),
    error(400, "no"),
    respond(200, "<html>"),
    raw(CUT),
    raw(RESET),
    raw(HANG),
    raw(Pause(0.02), b"HTTP/1.1 200 OK\r\ncontent-le", CUT),
    stream(first(), delta("{"), Pause(0.01), CUT),
    stream(first(), delta("{"), HANG),
    stream(first(), delta("{"), Pause(0.01), delta("}"), finished(), DONE),
    stream(first(), delta("{}")),
]


def describe(plan: Plan) -> None:
    plan.slm(replicas=2, timeouts=BRIEF)
    plan.llm(timeouts=BRIEF)
    plan.route("auto", "slm", "llm")
    plan.route("alone", "slm")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_left_behind(lane: Lane, seed: int) -> None:
    dice = random.Random(seed)
    before = lane.counter("requests_total")

    async def anything(call: Call) -> None:
        await dice.choice(BEHAVIOURS)(call)

    for site in (lane.site("slm", "a"), lane.site("slm", "b"), lane.llm):
        site.always(anything)

    def ask(number: int) -> None:
        own = random.Random(seed * REQUESTS + number)
        fields: dict[str, object] = {"stream": own.random() < 0.5}
        if own.random() < 0.4:
            fields["response_format"] = SCHEMA
        body = lane.body(own.choice(["auto", "auto", "alone", "slm"]), **fields)
        with Caller(lane.gateway, body) as caller:
            if own.random() < 0.3:
                caller.socket.settimeout(own.random() * 0.1)
                with contextlib.suppress(TimeoutError):
                    caller.socket.recv(1)
                return
            head = caller.read_until(b"\r\n\r\n")
            if b"transfer-encoding: chunked" not in head.lower():
                return
            while not caller.received.endswith(b"0\r\n\r\n"):
                data = caller.socket.recv(65536)
                assert data, "a stream ends by its last chunk, also after an error"
                caller.received += data
            transcript = parse(unchunked(caller.received.partition(b"\r\n\r\n")[2]))
            assert transcript.done is (transcript.error is None)
            assert transcript.done is bool(transcript.finish_reasons)

    with ThreadPoolExecutor(WORKERS) as pool:
        for done in [pool.submit(ask, number) for number in range(REQUESTS)]:
            done.result()
    lane.gateway.assert_idle()
    for site in (lane.site("slm", "a"), lane.site("slm", "b"), lane.llm):
        for call in site.calls:
            assert call.over or call.wait_closed()
    lane.expect_of(before + REQUESTS, "requests_total")
    assert lane.counter("requests_total", outcome="internal_error") == 0
    assert lane.counter("requests_total", outcome="disconnected") > 0


def unchunked(data: bytes) -> bytes:
    """Take the chunked framing off a finished body."""
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
    return body
