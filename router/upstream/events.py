"""Incremental decoding of server-sent events (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

from router.errors import UpstreamFailed

BOM = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 8 * 1024 * 1024


class EventDecoder:
    """Turns chunks of bytes into event payloads. It never decodes text, so a chunk may split a character."""

    __slots__ = ("_data", "_data_bytes", "_partial_line", "_started")

    def __init__(self) -> None:
        self._partial_line = bytearray()
        self._started = False
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the `data` of each event that this chunk completes.

        Raises:
            UpstreamFailed: an event is longer than 8 MiB.
        """
        if (
            not self._partial_line
            and not self._data
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and b"\r" not in chunk
        ):
            # Fast path: nearly every chunk consists of whole events of one line each.
            events = chunk[6:-2].split(b"\n\ndata: ")
            if chunk.count(b"\n") == 2 * len(events):
                self._started = True
                return events
        return self._feed_lines(chunk)

    def finish(self) -> list[bytes]:
        """Return the last event if its final empty line is missing, as some upstreams omit it."""
        events = self._feed_lines(b"\n") if self._partial_line else []
        last = self._feed_line(b"")
        return events if last is None else [*events, last]

    def _feed_lines(self, chunk: bytes) -> list[bytes]:
        if self._partial_line:
            if self._started and b"\n" not in chunk and b"\r" not in chunk and not self._partial_line.endswith(b"\r"):
                # The line is not complete: append the piece. The line is copied once, at its end.
                self._partial_line += chunk
                self._check_size()
                return []
            chunk = b"".join((self._partial_line, chunk))
        if not self._started and (len(chunk) >= len(BOM) or not BOM.startswith(chunk)):
            chunk, self._started = chunk.removeprefix(BOM), True
        # A final CR may be the first half of a CRLF.
        pending = b"\r" if chunk.endswith(b"\r") else b""
        lines = chunk[: len(chunk) - len(pending)].splitlines(keepends=True)
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            pending = lines.pop() + pending
        self._partial_line = bytearray(pending)
        events = [event for line in lines if (event := self._feed_line(line.rstrip(b"\r\n"))) is not None]
        self._check_size()
        return events

    def _feed_line(self, line: bytes) -> bytes | None:
        if not line:
            if not self._data:
                return None
            event = b"\n".join(self._data)
            self._data, self._data_bytes = [], 0
            return event
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
            self._data_bytes += len(line)
        return None

    def _check_size(self) -> None:
        if self._data_bytes + len(self._partial_line) > MAX_EVENT_BYTES:
            raise UpstreamFailed(f"the upstream sent an event of more than {MAX_EVENT_BYTES} bytes")
