"""Everything at once: upstreams fail in every way, clients leave at any moment, and nothing is left behind."""

from __future__ import annotations

import contextlib
import random
from concurrent.futures import ThreadPoolExecutor

from tests.chaos.wall.scenario import Scenario, Stage, Verdict
from tests.support.behaviours import CUT, HANG, RESET, Call, Pause, answer, error, raw, respond, stream
from tests.support.caller import Caller
from tests.support.events import parse
from tests.support.lanes import BRIEF, Plan
from tests.support.stream_events import DONE, delta, finished, first

REQUESTS = 240
CLIENTS = 16
FORM = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
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


def brief(plan: Plan) -> None:
    plan.slm(replicas=2, timeouts=BRIEF)
    plan.llm(timeouts=BRIEF)
    plan.route("auto", "slm", "llm")
    plan.route("alone", "slm")


def _storm(stage: Stage) -> Verdict:
    """Each stream that is read to its end ends as it says, and every request is counted."""
    dice = random.Random(stage.lane.number)
    before = stage.lane.counter("requests_total")
    failed = stage.lane.counter("requests_total", outcome="internal_error")

    async def anything(call: Call) -> None:
        await dice.choice(BEHAVIOURS)(call)

    for name in ("slm:a", "slm:b", "llm"):
        stage.site(name).always(anything)
    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(_ask, stage, number) for number in range(REQUESTS)]:
            done.result()
    stage.lane.expect_of(before + REQUESTS, "requests_total")
    assert stage.lane.counter("requests_total", outcome="internal_error") == failed
    return Verdict.PASS


def _ask(stage: Stage, number: int) -> None:
    own = random.Random(stage.lane.number * REQUESTS + number)
    fields: dict[str, object] = {"stream": stage.streamed}
    if own.random() < 0.4:
        fields["response_format"] = FORM
    with Caller(stage.lane.gateway, stage.lane.body(own.choice(["auto", "auto", "alone", "slm"]), **fields)) as caller:
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
        transcript = parse(_unchunked(caller.received.partition(b"\r\n\r\n")[2]))
        assert transcript.done is (transcript.error is None)
        assert transcript.done is bool(transcript.finish_reasons)


def _unchunked(data: bytes) -> bytes:
    """Take the chunked framing off a finished body."""
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + data[:length], data[length + 2 :]
    return body


SCENARIOS: list[Scenario] = [Scenario(f"{REQUESTS} requests of {CLIENTS} clients", _storm, brief)]
