"""What has come of one answer: bytes in, state out. No I/O."""

from __future__ import annotations

import zlib
from typing import NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from router.upstream.base import MAX_BODY_BYTES
from router.upstream.retry_after import retry_after

MAX_OVERHEAD_BYTES = 64 * 1024
"""of headers, of trailers, and of what else comes without a byte of the body among it"""
_TOO_LONG = f"the upstream sent more than {MAX_OVERHEAD_BYTES} bytes of headers"
_UNREADABLE = "the upstream's answer has a {} that was not asked for: {}"
_NOT_PACKED = "the upstream's compressed answer cannot be unpacked"
_SPENT = HttpResponseParser(object())
_ZLIB = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
"""`wbits` of zlib's documentation"""

# What comes is one of these:
# 1. nothing, and the end of the connection     failed; `silent` tells it from all other failures
# 2. 1xx answers                                skipped: the answer proper follows
# 3. no HTTP/1.x, headers without end           failed, `status` stays 0
# 4. headers of a body that we cannot read      failed, `status` is known
# 5. a body with a length, in chunks, or none   complete where its framing says so; failed where it breaks off
# 6. a body without a length                    complete at the end of the connection, unless that was an error
# 7. more bytes behind a complete answer        complete, but the connection cannot be used again


class Response:
    """One answer. `status` is 0 until its headers have come; it is over when complete or failed."""

    __slots__ = (
        "_ends_with_connection",
        "_head",
        "_headers",
        "_overhead",
        "_packed_is_cut",
        "_parser",
        "_unpack",
        "chunks",
        "complete",
        "failure",
        "over",
        "retry_after_s",
        "reusable",
        "status",
        "unread",
    )

    def __init__(self) -> None:
        self.status = 0
        self.retry_after_s: float | None = None
        self.chunks: list[bytes] = []
        self.unread = 0  # bytes in `chunks`
        self.complete = False
        self.failure = ""
        self.over = False
        self.reusable = False  # the connection, once the answer is complete
        self._headers: dict[bytes, bytes] = {}
        self._head = 0  # bytes of headers and trailers
        self._overhead = 0  # bytes since the last of the body
        self._ends_with_connection = False
        self._unpack: zlib._Decompress | None = None
        self._packed_is_cut = False
        self._parser = HttpResponseParser(self)

    @property
    def silent(self) -> bool:
        """Whether not a single byte has come."""
        return not (self._overhead or self.status)

    def feed(self, data: bytes) -> None:
        """Take what came. Not after it is over."""
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.reusable = False
            if not self.complete:
                self.fail(f"the upstream's answer is no HTTP/1.1: {error}")
        if self.complete:
            self._finish()
        elif self._overhead > MAX_OVERHEAD_BYTES or self._head > MAX_OVERHEAD_BYTES:
            self.fail(_TOO_LONG)

    def end(self, clean: bool) -> None:
        """Take note that the connection ended; `clean`: the upstream closed it, rather than that it broke."""
        if clean and self._ends_with_connection:
            self.complete = True
        elif not self.complete:
            self.fail(
                "the upstream's answer broke off"
                if self.status
                else "the upstream closed the connection without an answer"
            )
        self._finish()

    def fail(self, why: str) -> None:
        """Give the answer up; the first reason stays."""
        self.failure = self.failure or why
        self._finish()

    def take(self) -> list[bytes]:
        """Return what of the body has come and was not yet taken."""
        chunks, self.chunks, self.unread = self.chunks, [], 0
        return chunks

    def _finish(self) -> None:
        self.over = True
        self._parser = _SPENT  # ours refers back to this object: without it no garbage collection is needed

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self.complete:
            raise HttpParserError("bytes behind the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note it. Trailers come here too, when nobody looks any more."""
        self._head += len(name) + len(value)
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Read what they say of the body."""
        if self._head > MAX_OVERHEAD_BYTES:
            self._refuse(_TOO_LONG)
        parser = self._parser
        status = parser.get_status_code()
        headers = self._headers
        if 100 <= status < 200:
            headers.clear()
            return
        self.reusable = parser.should_keep_alive()
        if status < 100 or parser.get_http_version() not in ("1.0", "1.1"):
            self._refuse("the upstream's answer is no HTTP/1.1")
        self.status = status
        if b"retry-after" in headers or b"retry-after-ms" in headers:
            self.retry_after_s = retry_after(
                {name.decode("latin-1"): v.decode("latin-1") for name, v in headers.items()}
            )
        coding = headers.get(b"transfer-encoding")
        if coding is None:
            self._ends_with_connection = b"content-length" not in headers
        elif coding.lower() != b"chunked":
            self._refuse(_UNREADABLE.format("transfer coding", coding[:40].decode("latin-1")))
        encoding = headers.get(b"content-encoding")
        if encoding is not None:
            self._decode(encoding.lower())

    def _decode(self, encoding: bytes) -> None:
        """Unpack what some servers compress although they were asked not to."""
        if encoding in _ZLIB:
            self._unpack = zlib.decompressobj(_ZLIB[encoding])
        elif encoding != b"identity":
            self._refuse(_UNREADABLE.format("content encoding", encoding[:40].decode("latin-1")))

    def _refuse(self, why: str) -> NoReturn:
        self.failure = why
        raise HttpParserError(why)

    def on_body(self, chunk: bytes) -> None:
        """Note it."""
        self._overhead = 0
        if self._unpack is not None:
            chunk = self._unpacked(chunk)
        self.chunks.append(chunk)
        self.unread += len(chunk)

    def on_message_complete(self) -> None:
        """Note it, unless that was a 1xx."""
        if self._packed_is_cut:
            self._refuse(_NOT_PACKED)
        self.complete = self.status != 0

    def _unpacked(self, chunk: bytes) -> bytes:
        assert self._unpack is not None  # noqa: S101
        room = MAX_BODY_BYTES - self.unread
        try:
            text = self._unpack.decompress(chunk, room) if room > 0 else b""
        except zlib.error:
            self._refuse(_NOT_PACKED)
        if room <= 0 or self._unpack.unconsumed_tail:
            self._refuse(f"the upstream's answer is longer than {MAX_BODY_BYTES} bytes")
        if self._unpack.unused_data:
            self._refuse(_NOT_PACKED)
        self._packed_is_cut = not self._unpack.eof
        return text
