"""The incremental parser of one HTTP response. It does no I/O."""

from __future__ import annotations

import zlib
from typing import NoReturn

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from router.upstream.base import MAX_BODY_BYTES
from router.upstream.retry_after import retry_after

MAX_OVERHEAD_BYTES = 64 * 1024
"""The limit on headers and trailers, and on any other bytes received between two pieces of the body."""
_HEADERS_TOO_LONG = f"the upstream sent more than {MAX_OVERHEAD_BYTES} bytes of headers"
_UNREQUESTED_CODING = "the upstream's response has a {} that was not requested: {}"
_BAD_COMPRESSION = "could not decompress the upstream's response"
_FINISHED_PARSER = HttpResponseParser(object())
_ZLIB_WBITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
"""The values of zlib's `wbits`."""

# Received data                                  Result
# 1. nothing before the connection ended         failed; `is_empty` distinguishes this from all other failures
# 2. a 1xx response                              skipped: the final response follows
# 3. not HTTP/1.x, or endless headers            failed, `status` stays 0
# 4. headers of a body that we cannot read       failed, `status` is known
# 5. a body with a length, chunked, or no body   complete at the end of its framing; failed if it ends earlier
# 6. a body without a length                     complete at the end of the connection, unless that was an error
# 7. extra bytes after a complete response       complete, but the connection cannot be reused


class Response:
    """One response. `status` is 0 until its headers arrive. It is over once it is complete or failed."""

    __slots__ = (
        "_decompressor",
        "_ends_with_connection",
        "_header_bytes",
        "_headers",
        "_overhead_bytes",
        "_parser",
        "_truncated",
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
        self.reusable = False  # whether the connection can be reused once the response is complete
        self._headers: dict[bytes, bytes] = {}
        self._header_bytes = 0  # of headers and trailers
        self._overhead_bytes = 0  # since the last piece of the body
        self._ends_with_connection = False
        self._decompressor: zlib._Decompress | None = None
        self._truncated = False  # the compressed body lacks its end so far
        self._parser = HttpResponseParser(self)

    @property
    def is_empty(self) -> bool:
        """Whether no byte has been received."""
        return not (self._overhead_bytes or self.status)

    @property
    def content_type(self) -> str:
        """The header `content-type` in lower case, or an empty string."""
        return self._headers.get(b"content-type", b"").decode("latin-1").lower()

    def feed(self, data: bytes) -> None:
        """Parse received bytes. Must not be called once the response is over."""
        self._overhead_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.reusable = False
            if not self.complete:
                self.fail(f"the upstream's response is not valid HTTP/1.1: {error}")
        if self.complete:
            self._finish()
        elif self._overhead_bytes > MAX_OVERHEAD_BYTES or self._header_bytes > MAX_OVERHEAD_BYTES:
            self.fail(_HEADERS_TOO_LONG)

    def end(self, clean: bool) -> None:
        """Handle the end of the connection. `clean`: the upstream closed it, without an error."""
        if clean and self._ends_with_connection:
            self.complete = True
        elif not self.complete:
            self.fail(
                "the upstream's response was cut off"
                if self.status
                else "the upstream closed the connection without a response"
            )
        self._finish()

    def fail(self, why: str) -> None:
        """Mark the response as failed. Only the first reason is kept."""
        self.failure = self.failure or why
        self._finish()

    def take_chunks(self) -> list[bytes]:
        """Return the buffered pieces of the body and empty the buffer."""
        chunks, self.chunks, self.unread = self.chunks, [], 0
        return chunks

    def _finish(self) -> None:
        self.over = True
        self._parser = _FINISHED_PARSER  # breaks a reference cycle, so that no garbage collection is needed

    def on_message_begin(self) -> None:
        """Reject a second response to one request."""
        if self.complete:
            raise HttpParserError("extra bytes after the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header. Trailers are stored too, but nothing reads them."""
        self._header_bytes += len(name) + len(value)
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Read the status, and how the body is framed and encoded."""
        if self._header_bytes > MAX_OVERHEAD_BYTES:
            self._reject(_HEADERS_TOO_LONG)
        parser = self._parser
        status = parser.get_status_code()
        headers = self._headers
        if 100 <= status < 200:
            headers.clear()
            return
        self.reusable = parser.should_keep_alive()
        if status < 100 or parser.get_http_version() not in ("1.0", "1.1"):
            self._reject("the upstream's response is not valid HTTP/1.1")
        self.status = status
        if b"retry-after" in headers or b"retry-after-ms" in headers:
            self.retry_after_s = retry_after(
                {name.decode("latin-1"): v.decode("latin-1") for name, v in headers.items()}
            )
        coding = headers.get(b"transfer-encoding")
        if coding is None:
            self._ends_with_connection = b"content-length" not in headers
        elif coding.lower() != b"chunked":
            self._reject(_UNREQUESTED_CODING.format("transfer coding", coding[:40].decode("latin-1")))
        encoding = headers.get(b"content-encoding")
        if encoding is not None:
            self._set_content_encoding(encoding.lower())

    def _set_content_encoding(self, encoding: bytes) -> None:
        """Prepare to decompress the body. Some servers compress although the request forbids it."""
        if encoding in _ZLIB_WBITS:
            self._decompressor = zlib.decompressobj(_ZLIB_WBITS[encoding])
        elif encoding != b"identity":
            self._reject(_UNREQUESTED_CODING.format("content encoding", encoding[:40].decode("latin-1")))

    def _reject(self, why: str) -> NoReturn:
        self.failure = why
        raise HttpParserError(why)

    def on_body(self, chunk: bytes) -> None:
        """Buffer a piece of the body."""
        self._overhead_bytes = 0
        if self._decompressor is not None:
            chunk = self._decompress(chunk)
        self.chunks.append(chunk)
        self.unread += len(chunk)

    def on_message_complete(self) -> None:
        """Mark the response as complete, unless it is a 1xx."""
        if self._truncated:
            self._reject(_BAD_COMPRESSION)
        self.complete = self.status != 0

    def _decompress(self, chunk: bytes) -> bytes:
        assert self._decompressor is not None  # noqa: S101
        room = MAX_BODY_BYTES - self.unread
        try:
            text = self._decompressor.decompress(chunk, room) if room > 0 else b""
        except zlib.error:
            self._reject(_BAD_COMPRESSION)
        if room <= 0 or self._decompressor.unconsumed_tail:
            self._reject(f"the upstream's response is longer than {MAX_BODY_BYTES} bytes")
        if self._decompressor.unused_data:
            self._reject(_BAD_COMPRESSION)
        self._truncated = not self._decompressor.eof
        return text
