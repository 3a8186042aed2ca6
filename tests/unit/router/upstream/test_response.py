"""Answers as bytes, cut anywhere: what comes out depends on the bytes alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.upstream.response import MAX_OVERHEAD_BYTES, Response

BODIES = st.binary(max_size=40)
HEADS = st.sampled_from([b"", b"Server: x\r\n", b"X: \r\n", b"Retry-After: 7\r\n", b"X: " + b"y" * 300 + b"\r\n"])
INTERIM = st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 E\r\nRetry-After: 9\r\n\r\n"])


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x;ext\r\n%s\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\nT: 1\r\n\r\n"


ANSWERS = st.one_of(
    st.tuples(INTERIM, HEADS, BODIES).map(
        lambda t: (t[0] + b"HTTP/1.1 200 OK\r\n" + t[1] + b"content-length: %d\r\n\r\n" % len(t[2]) + t[2], t[2])
    ),
    st.tuples(INTERIM, HEADS, st.lists(BODIES, max_size=4)).map(
        lambda t: (
            t[0] + b"HTTP/1.1 200 OK\r\n" + t[1] + b"Transfer-Encoding: Chunked\r\n\r\n" + chunked(t[2]),
            b"".join(t[2]),
        )
    ),
)


def fed(raw: bytes, cuts: list[int]) -> tuple[Response, bytes]:
    response, body = Response(), b""
    for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        if not response.over and raw[a:b]:
            response.feed(raw[a:b])
            body += b"".join(response.take_chunks())
            assert response.unread == 0
    return response, body


def cuts_of(raw: bytes, data: st.DataObject) -> list[int]:
    return sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))


@given(ANSWERS, st.data())
def test_an_answer_cut_anywhere(answer: tuple[bytes, bytes], data: st.DataObject) -> None:
    raw, expected = answer
    response, body = fed(raw, cuts_of(raw, data))
    assert (response.complete, response.failure, response.reusable, body) == (True, "", True, expected)
    assert response.retry_after_s == (7.0 if b"Retry-After: 7" in raw else None)


@given(ANSWERS, st.data())
def test_a_part_of_an_answer(answer: tuple[bytes, bytes], data: st.DataObject) -> None:
    raw, expected = answer
    raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    response, body = fed(raw, cuts_of(raw, data))
    assert not response.over
    assert expected.startswith(body)
    assert response.is_empty == (not raw)
    response.end(clean=True)
    assert response.over
    assert response.failure
    assert not response.complete


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda raw: b"HTTP/1.1 200 OK\r\n" + raw), st.data())
def test_anything(raw: bytes, data: st.DataObject) -> None:
    """Complete, failed, or more is awaited: and the same however it is cut."""
    whole, body = fed(raw, [])
    parts, parts_body = fed(raw, cuts_of(raw, data))
    for response in (whole, parts):
        response.end(clean=True)
        assert response.over
        assert bool(response.failure) != response.complete
    assert (whole.status, whole.complete) == (parts.status, parts.complete)
    if whole.complete:
        assert body == parts_body


@given(ANSWERS, st.binary(min_size=1, max_size=30), st.data())
def test_what_comes_behind_an_answer_is_no_part_of_it(
    answer: tuple[bytes, bytes], behind: bytes, data: st.DataObject
) -> None:
    raw, expected = answer
    response, body = fed(raw + behind, [cut for cut in cuts_of(raw, data) if cut < len(raw)])
    assert (response.complete, response.failure, body) == (True, "", expected)
    assert response.reusable == (not behind.strip(b"\r\n"))


def test_headers_in_small_pieces_have_the_limit_too() -> None:
    response = Response()
    response.feed(b"HTTP/1.1 200 OK\r\nx: ")
    fed_bytes = 0
    while not response.over:
        response.feed(b"y" * 1000)
        fed_bytes += 1000
    assert response.failure
    assert fed_bytes <= MAX_OVERHEAD_BYTES + 1000
