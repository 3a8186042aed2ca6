"""Unpack request bodies that the client has compressed, within the limit on a body's size."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Protocol

from starlette.types import Message, Receive

from router.errors import BadRequest, BodyTooLarge

MAX_CODINGS = 3
"""each coding needs memory of its own, so a request may not have any number of them"""
MAX_ZSTD_WINDOW_LOG = 23
"""frames may ask for a window of at most 8 MiB (RFC 9659); otherwise a few bytes allocate 128 MiB"""
MAX_MEMBERS = 1000
"""an empty member is 20 bytes of gzip, or 9 of zstd, and takes as long as some kilobytes of text"""
_RAW_DEFLATE, _ZLIB, _GZIP = -zlib.MAX_WBITS, zlib.MAX_WBITS, zlib.MAX_WBITS + 16


class UnsupportedContentEncoding(BadRequest):
    """The body is compressed in a way that the server does not unpack. The response lists those that it does."""

    status = 415
    code = "unsupported_content_encoding"


class _Member(Protocol):
    """Unpacks one gzip member, zlib stream or zstd frame. A body may have several, one behind the other."""

    @property
    def eof(self) -> bool:
        """Whether its end has been reached."""
        ...

    @property
    def unused_data(self) -> bytes:
        """The bytes behind its end."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most `max_length` bytes. Raise an exception of the library if the data is broken."""
        ...


class _Unpacker:
    """Unpacks one coding, up to `limit` bytes in all."""

    def __init__(self, coding: str, limit: int) -> None:
        self._coding = coding
        self._limit = limit
        self._room = limit
        self._member: _Member | None = None
        self._members_left = 1 if coding == "deflate" else MAX_MEMBERS

    def feed(self, packed: bytes) -> bytes:
        """Return what the next bytes unpack to."""
        unpacked = []
        while packed:
            member = self._member or self._begin_member(packed)
            try:
                # One byte more than there is room for shows that the body is too long, and nothing more is unpacked.
                part = member.decompress(packed, self._room + 1)
            except Exception:  # the libraries have no common exception
                raise self._broken("is not valid") from None
            self._room -= len(part)
            if self._room < 0:
                raise BodyTooLarge(f"The request body is over the limit of {self._limit} bytes when it is unpacked.")
            unpacked.append(part)
            packed, self._member = member.unused_data, None if member.eof else member
        return b"".join(unpacked)

    def finish(self) -> None:
        """Check that the last member is complete."""
        if self._member is not None:
            raise self._broken("ends too early for")

    def _begin_member(self, beginning: bytes) -> _Member:
        self._members_left -= 1
        if self._members_left < 0:
            raise self._broken("goes on behind the end of its")
        return _CODINGS[self._coding](beginning)

    def _broken(self, fault: str) -> BadRequest:
        return BadRequest(f"The request body {fault} {self._coding}.", code="invalid_content_encoding")


def _zlib_member(wbits: int, _: bytes) -> _Member:
    return zlib.decompressobj(wbits)


def _deflate_member(beginning: bytes) -> _Member:
    """Accept a zlib stream, which `deflate` means, and a stream without zlib's header, which some clients send."""
    has_header = beginning[0] & 0x0F == zlib.DEFLATED and beginning[0] >> 4 <= 7
    return zlib.decompressobj(_ZLIB if has_header else _RAW_DEFLATE)


def _zstd_member(_: bytes) -> _Member:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415 - rarely needed, as below
    else:
        from backports import zstd  # noqa: PLC0415

    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: MAX_ZSTD_WINDOW_LOG})


_CODINGS: dict[str, Callable[[bytes], _Member]] = {
    "gzip": partial(_zlib_member, _GZIP),
    "deflate": _deflate_member,
    "zstd": _zstd_member,
}
ACCEPTED = ", ".join(_CODINGS)
"""the codings that are unpacked, for the header `Accept-Encoding` of a refusal"""


def unpacked(receive: Receive, content_encodings: Sequence[bytes], limit: int) -> Receive:
    """Return a `receive` whose bodies are unpacked. `content_encodings` are the values of the header.

    It raises:
        UnsupportedContentEncoding: a coding is unknown, or there are too many.
        BodyTooLarge: the unpacked body is over the limit, in bytes.
        BadRequest: the body is broken or cut off (`invalid_content_encoding`).
    """
    unpackers: list[_Unpacker] | None = None

    async def receive_unpacked() -> Message:
        nonlocal unpackers
        if unpackers is None:  # only now, so that a missing key or a wrong path is reported first
            unpackers = [_Unpacker(coding, limit) for coding in reversed(_codings(content_encodings))]
        message = await receive()
        if message["type"] != "http.request":
            return message
        body = message.get("body", b"")
        for unpacker in unpackers:
            body = unpacker.feed(body)
        if not message.get("more_body", False):
            for unpacker in unpackers:
                unpacker.finish()
        return {**message, "body": body}

    return receive_unpacked


def _codings(content_encodings: Iterable[bytes]) -> list[str]:
    """Return the codings in the order in which the client applied them, without `identity`."""
    names = chain.from_iterable(value.decode("latin-1").lower().split(",") for value in content_encodings)
    codings = [name.strip().removeprefix("x-") for name in names if name.strip() not in ("", "identity")]
    if unknown := [coding for coding in codings if coding not in _CODINGS]:
        raise UnsupportedContentEncoding(
            f"The Content-Encoding '{unknown[0][:40]}' is not supported; expected one of {ACCEPTED}, identity."
        )
    if len(codings) > MAX_CODINGS:
        raise UnsupportedContentEncoding(f"More than {MAX_CODINGS} Content-Encodings are not supported.")
    return codings
