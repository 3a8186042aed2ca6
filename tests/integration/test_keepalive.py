"""A stream that is held back is not silent for long: proxies cut connections that are."""

from __future__ import annotations

import pytest

from tests.integration.test_structured import INVALID, PERSON, VALID
from tests.support.behaviours import Gate, answer, stream
from tests.support.caller import Caller
from tests.support.lanes import Lane, usual
from tests.support.stream_events import DONE, delta, finished, first

describe = usual
PATCH = "from server.http import keepalive; assert keepalive.COMMENT_INTERVAL_S; keepalive.COMMENT_INTERVAL_S = 0.5"


@pytest.mark.parametrize("text", [VALID, INVALID["missing"]])
def test_a_held_stream_is_not_silent_for_long(lane: Lane, text: str) -> None:
    gate = Gate()
    lane.slm.then(stream(first(), delta(text[:5]), gate, delta(text[5:]), finished(), DONE))
    lane.slm.always(answer(text))
    with Caller(lane.gateway, lane.body("slm", stream=True, response_format=PERSON)) as caller:
        head = caller.read_until(b": waiting\n\n")
        assert b" 200 OK\r\n" in head
        assert b'"content"' not in head
        gate.set()
        caller.read_until(b"[DONE]" if text == VALID else b"structured_output_violation")
    lane.gateway.assert_idle()
