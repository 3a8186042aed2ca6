"""All slots are taken, and the wait for one has an end."""

from __future__ import annotations

import time

from tests.support.behaviours import Gate, stream
from tests.support.caller import Caller
from tests.support.lanes import Lane, usual
from tests.support.stream_events import DONE, delta, finished, first

describe = usual
WAIT_S = 0.6
ENV = {"SMALLFIRST_MAX_IN_FLIGHT": "1", "SMALLFIRST_MAX_QUEUED": "1", "SMALLFIRST_QUEUE_TIMEOUT_S": str(WAIT_S)}


def test_who_waits_too_long_is_told_so(lane: Lane) -> None:
    gate = Gate()
    lane.slm.then(stream(first(), delta("held"), gate, finished(), DONE))
    with Caller(lane.gateway, lane.body(stream=True)) as caller:
        caller.read_until(b'"held"')
        began = time.monotonic()
        reply = lane.chat()
        assert time.monotonic() - began >= WAIT_S
        assert reply.status in (429, 503)
        assert int(reply.headers["retry-after"]) >= 1
        assert lane.metrics().value("smallfirst_requests_queued") == 0
        lane.expect(1, "requests_total", outcome="overloaded")
        gate.set()
        caller.read_until(b"[DONE]")
