from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.upstream.events import EventDecoder
from server import sse

LINE = st.binary(max_size=20).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b""))
PAYLOADS = st.lists(LINE, min_size=1, max_size=4).map(b"\n".join)


@given(st.lists(PAYLOADS, max_size=5), LINE)
def test_what_is_framed_decodes_to_the_same_and_comments_to_nothing(payloads: list[bytes], comment: bytes) -> None:
    stream = b"".join(sse.event(payload) + sse.comment(comment) for payload in payloads) + sse.DONE
    decoder = EventDecoder()
    assert decoder.feed(stream) == [*payloads, b"[DONE]"]
    assert decoder.finish() == []


def test_bytes_on_the_wire() -> None:
    assert sse.event(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert sse.event(b"{\n}") == b"data: {\ndata: }\n\n"
    assert sse.comment(b"smallfirst {}") == b": smallfirst {}\n\n"
    assert sse.DONE == b"data: [DONE]\n\n"


def test_nothing_on_the_way_may_hold_a_stream_back() -> None:
    headers = dict(sse.HEADERS)
    assert headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-accel-buffering"] == b"no"
