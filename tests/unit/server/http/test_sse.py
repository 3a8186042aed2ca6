from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.upstream.events import EventDecoder
from server.http import sse

LINE = st.binary(max_size=20).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b""))
PAYLOADS = st.lists(LINE, min_size=1, max_size=4).map(b"\n".join)


@given(st.lists(st.lists(PAYLOADS, min_size=1, max_size=3), max_size=5), LINE)
def test_what_is_framed_decodes_to_the_same_and_comments_to_nothing(batches: list[list[bytes]], comment: bytes) -> None:
    stream = b"".join(sse.events(payloads) + sse.comment(comment) for payloads in batches) + sse.DONE
    decoder = EventDecoder()
    assert decoder.feed(stream) == [*(payload for payloads in batches for payload in payloads), b"[DONE]"]
    assert decoder.finish() == []


def test_bytes_on_the_wire() -> None:
    assert sse.events([b'{"a":1}']) == b'data: {"a":1}\n\n'
    assert sse.events([b'{"a":1}', b"[2]"]) == b'data: {"a":1}\n\ndata: [2]\n\n'
    assert sse.events([b"{\n}", b"1"]) == b"data: {\ndata: }\n\ndata: 1\n\n"
    assert sse.comment(b"smallfirst {}") == b": smallfirst {}\n\n"
    assert sse.DONE == b"data: [DONE]\n\n"


def test_nothing_on_the_way_may_hold_a_stream_back() -> None:
    headers = dict(sse.HEADERS)
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-accel-buffering"] == b"no"
