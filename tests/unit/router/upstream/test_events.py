from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import UpstreamFailed
from router.upstream import events
from router.upstream.events import BOM, EventDecoder


def decode(*chunks: bytes) -> list[bytes]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.finish()


def reference(stream: bytes) -> list[bytes]:
    """The standard's algorithm on the whole text, except that an event cut by the stream's end counts."""
    found, data = [], []
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(BOM))
    for line in [*lines, b""]:
        if not line:
            if data:
                found.append(b"\n".join(data))
            data = []
        else:
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value[1:] if value.startswith(b" ") else value)
    return found


LINES = st.one_of(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12).map(
        lambda text: b"data: " + text.encode()
    ),
    st.sampled_from([
        b"data", b"data:", b"data:x", b"data:  two", b"data: [DONE]", b"data: {\"a\": \"\xe2\x82\xac\"}",
        b": comment", b":", b"event: error", b"id: 7", b"retry: 10", b"database: x", b"nonsense", b" data: x",
    ]),
    st.just(b""),
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXTS = st.lists(st.tuples(LINES, ENDS), max_size=20).map(lambda lines: b"".join(line + end for line, end in lines))
STREAMS = st.tuples(st.sampled_from([b"", b"", BOM, BOM + BOM, BOM[:2], b"\n" + BOM]), TEXTS).map(b"".join)


@given(STREAMS, st.data())
def test_any_split_of_any_stream_decodes_the_same(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode(*chunks) == reference(stream)


# what models send: whole events of one line, now and then something else among them
CHUNKS = st.lists(
    st.sampled_from([
        b"data: 1\n\n", b"data: {}\n\ndata: [DONE]\n\n", b"data: \n\n", b"data:  x\n\n", b"data: a\ndata: b\n\n",
        b"data: a\nid: 1\n\n", b"data: a\n\nevent: x\ndata: b\n\n", b"data: a\n\n\ndata: b\n\n", b"data: a\n\n: c\n\n",
        b": c\n\n", b"data: a\r\n\r\n", b"data: a\rdata: b\n\n", b"data: a", b"\n", b"\n\n", b"data: ", b"\r",
        BOM, BOM + b"data: 1\n\n", b"data: \xe2\x82", b"\xac\n\n",
    ]),
    max_size=8,
)  # fmt: skip


@given(CHUNKS)
def test_the_short_way_gives_what_the_long_one_gives(chunks: list[bytes]) -> None:
    short, long = EventDecoder(), EventDecoder()
    for chunk in chunks:
        assert short.feed(chunk) == long._feed_lines(chunk)
    assert short.finish() == long.finish()
    assert decode(*chunks) == reference(b"".join(chunks))


@given(STREAMS)
def test_byte_by_byte(stream: bytes) -> None:
    assert decode(*(bytes([byte]) for byte in stream)) == reference(stream)


@given(st.binary(max_size=100), st.integers(0, 100))
def test_any_bytes_at_all(stream: bytes, cut: int) -> None:
    assert decode(stream[:cut], stream[cut:]) == reference(stream)


def test_events_come_as_soon_as_they_are_complete() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: 1\n\ndata: 2\n") == [b"1"]
    assert decoder.feed(b"\ndata: 3") == [b"2"]
    assert decoder.feed(b"\r\n\r\n: keep-alive\n\n") == [b"3"]
    assert decoder.finish() == []


def test_data_of_several_lines_is_joined() -> None:
    assert decode(b'data: {\ndata: "a": 1\ndata: }\n\n') == [b'{\n"a": 1\n}']


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_a_last_event_without_its_empty_line(end: bytes) -> None:
    assert decode(b"data: [DONE]" + end) == [b"[DONE]"]


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024, 1_000_000])
def test_a_long_event(size: int) -> None:
    long = b"x" * size
    stream = b"data: " + long + b"\n\ndata: next\n\n"
    assert decode(*(stream[i : i + 4096] for i in range(0, len(stream), 4096))) == [long, b"next"]


def test_a_long_event_in_small_pieces_is_copied_once() -> None:
    """Were what has come copied with each piece, this would copy 32 GB."""
    decoder = EventDecoder()
    piece = b"x" * 1024
    assert decoder.feed(b"data: ") == []
    for _ in range(8 * 1024 - 1):
        assert decoder.feed(piece) == []
    assert [len(event) for event in decoder.feed(b"\n\n")] == [8 * 1024 * 1024 - 1024]


@pytest.mark.parametrize(
    "piece", [b"data: " + b"x" * 50 + b"\n", b"x" * 50, b"data:\n" * 20], ids=["lines", "a line", "empty lines"]
)
def test_an_endless_event_is_refused(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_EVENT_BYTES", 1000)
    decoder = EventDecoder()
    assert decoder.feed(piece) == []
    with pytest.raises(UpstreamFailed, match="1000 bytes"):
        decoder.feed(piece * 20)


def test_many_events_together_may_be_longer_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_EVENT_BYTES", 1000)
    assert len(decode(*[b"data: " + b"x" * 500 + b"\n\n"] * 10)) == 10


@pytest.mark.parametrize("sizes", [[], [1], [2], [3], [4], [1, 2], [1, 2, 3], [9]])
def test_a_byte_order_mark_at_the_beginning_loses_nothing(sizes: list[int]) -> None:
    stream = BOM + b"data: 1\n\ndata: 2\n\n"
    chunks = [stream[a:b] for a, b in zip([0, *sizes], [*sizes, len(stream)], strict=True)]
    assert decode(*chunks) == [b"1", b"2"]


def test_a_byte_order_mark_is_one_at_the_beginning_only() -> None:
    assert decode(BOM + BOM + b"data: 1\n\n") == []
    assert decode(b"data: " + BOM + b"1\n\n") == [BOM + b"1"]
    for chunks in ([b"\n" + BOM + b"data: 1\n\n"], [b"\n", BOM + b"data: 1\n\n"]):
        assert decode(*chunks) == [], "however it is split"
    assert decode(b"", BOM, b"", b"data: 1\n\n") == [b"1"]
    assert decode(BOM) == []
