"""Compressed bodies: unpacked as they arrive, never beyond the limit."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Sequence

import pytest
from backports import zstd
from starlette.types import Message

from router.errors import ApiError, BadRequest, BodyTooLarge
from server.http import content_encoding
from server.http.content_encoding import MAX_CODINGS, MAX_MEMBERS, UnsupportedContentEncoding, unpacked
from server.http.disconnect import ClientDisconnected
from server.http.envelope import error_response
from server.http.middleware import read_body
from tests.unit.server.http.test_middleware import LIMIT, Exchange, echo

TEXT = b'{"model": "auto", "text": "' + "é€𝄞 ".encode() * 2000 + b'"}'
BIG = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "gzip": (b"gzip", gzip.compress),
    "x-gzip": (b"x-gzip", gzip.compress),
    "deflate": (b"deflate", zlib.compress),
    "deflate without a header": (b"Deflate", raw_deflate),
    "zstd": (b"zstd", zstd.compress),
    "identity": (b"identity", bytes),
    "none": (b"", bytes),
    "two": (b"gzip, zstd", lambda data: zstd.compress(gzip.compress(data))),
    "identity and gzip": (b"identity,gzip", gzip.compress),
}


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)] or [b""]


async def read(pieces: Iterable[bytes | None], encodings: Sequence[bytes], limit: int = BIG) -> bytes:
    pieces = list(pieces)
    messages: list[Message] = [
        {"type": "http.disconnect"}
        if piece is None
        else {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
        for number, piece in enumerate(pieces)
    ]

    async def receive() -> Message:
        return messages.pop(0)

    return await read_body(unpacked(receive, encodings, limit))


async def fails(
    error: type[ApiError], pieces: Iterable[bytes], encodings: Sequence[bytes], limit: int = BIG
) -> ApiError:
    with pytest.raises(error) as caught:
        await read(pieces, encodings, limit)
    return caught.value


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("size", [1, 100, BIG])
async def test_a_body_is_unpacked(name: str, size: int) -> None:
    encoding, pack = PACKERS[name]
    assert await read(in_pieces(pack(TEXT), size), [encoding]) == TEXT


async def test_the_header_may_come_twice() -> None:
    assert await read([zlib.compress(gzip.compress(TEXT))], [b"gzip", b"deflate"]) == TEXT


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
async def test_a_body_may_have_several_members(pack: Callable[[bytes], bytes]) -> None:
    encoding = b"gzip" if pack is gzip.compress else b"zstd"
    packed = pack(b"one ") + pack(b"") + pack(b"two")
    for size in (1, BIG):
        assert await read(in_pieces(packed, size), [encoding]) == b"one two"
    error = await fails(BadRequest, [pack(b"") * (MAX_MEMBERS + 1)], [encoding])
    assert error.code == "invalid_content_encoding"


async def test_an_empty_body_is_empty() -> None:
    for encoding in (b"gzip", b"deflate", b"zstd"):
        assert await read([b""], [encoding]) == b""


@pytest.mark.parametrize("name", ["gzip", "deflate", "deflate without a header", "zstd", "two"])
async def test_a_body_is_unpacked_up_to_the_limit_and_no_further(name: str) -> None:
    encoding, pack = PACKERS[name]
    assert await read([pack(b"x" * 5000)], [encoding], 5000) == b"x" * 5000
    for size in (1, BIG):
        error = await fails(BodyTooLarge, in_pieces(pack(b"x" * 5001), size), [encoding], 5000)
        assert (error.status, "5000 bytes" in error.message) == (413, True)


class Counting:
    """A member that says how much it was asked for."""

    eof, unused_data = False, b""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self.asked.append(max_length)
        return b"x" * min(max_length, 1 << 30)


async def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    member = Counting()
    monkeypatch.setitem(content_encoding._CODINGS, "gzip", lambda _: member)
    await fails(BodyTooLarge, [b"small", b"more"], [b"gzip"], 1000)
    assert member.asked == [1001]


async def test_a_zstd_frame_may_not_ask_for_a_huge_window() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    huge = packer.compress(b"x" * 1000) + packer.flush()
    assert (await fails(BadRequest, [huge], [b"zstd"])).code == "invalid_content_encoding"


@pytest.mark.parametrize("name", ["gzip", "deflate", "deflate without a header", "zstd", "two"])
async def test_a_broken_body_is_a_400_that_names_the_coding(name: str) -> None:
    encoding, pack = PACKERS[name]
    packed = pack(TEXT)
    broken = [TEXT, packed[: len(packed) // 2], packed[:-1], packed + b"x"]
    for data in broken:
        error = await fails(BadRequest, [data], [encoding])
        assert (error.status, error.code) == (400, "invalid_content_encoding")
        assert any(word in error.message for word in ("gzip", "deflate", "zstd"))


@pytest.mark.parametrize("encoding", [b"br", b"compress", b"gzip, br", b"\xff", b"snappy" * 100])
async def test_an_unknown_coding_is_a_415_that_names_the_known_ones(encoding: bytes) -> None:
    error = await fails(UnsupportedContentEncoding, [TEXT], [encoding])
    assert (error.status, error.code) == (415, "unsupported_content_encoding")
    assert "gzip, deflate, zstd" in error.message
    assert len(error.message) < 200
    assert error_response(error).headers["accept-encoding"] == "gzip, deflate, zstd"


async def test_codings_are_limited_in_number() -> None:
    packed = TEXT
    for _ in range(MAX_CODINGS):
        packed = gzip.compress(packed)
    assert await read([packed], [b"gzip"] * MAX_CODINGS) == TEXT
    await fails(UnsupportedContentEncoding, [gzip.compress(packed)], [b"gzip"] * (MAX_CODINGS + 1))


async def test_a_client_that_leaves_is_noticed() -> None:
    with pytest.raises(ClientDisconnected):
        await read([gzip.compress(TEXT)[:50], None], [b"gzip"])


async def test_the_middleware_unpacks_and_refuses() -> None:
    exchange = Exchange([gzip.compress(b"x" * LIMIT)], [(b"content-encoding", b"gzip")])
    await exchange.play(echo)
    assert (exchange.status, exchange.body) == (200, b"x" * LIMIT)
    exchange = Exchange([gzip.compress(b"x" * (LIMIT + 1))], [(b"content-encoding", b"gzip")])
    await exchange.play(echo)
    assert (exchange.status, exchange.error()["code"]) == (413, "request_too_large")
    exchange = Exchange([b"x"], [(b"content-encoding", b"br")])
    await exchange.play(echo)
    assert (exchange.status, exchange.error()["code"]) == (415, "unsupported_content_encoding")
    assert exchange.values(b"accept-encoding") == [b"gzip, deflate, zstd"]
