"""Incremental decoding of server-sent events (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

from router.errors import UpstreamFailed

BOM = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 8 * 1024 * 1024


class EventDecoder:
    """Bytes as they come in, payloads out. Works on bytes, so a character may be split anywhere."""

    __slots__ = ("_begun", "_data", "_rest", "_size")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._begun = False
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the `data` of each event that this chunk completes.

        Raises:
            UpstreamFailed: an event is longer than 8 MiB.
        """
        if (
            not self._rest
            and not self._data
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and b"\r" not in chunk
        ):
            # nearly every chunk of every stream is whole events of one line each
            events = chunk[6:-2].split(b"\n\ndata: ")
            if chunk.count(b"\n") == 2 * len(events):
                self._begun = True
                return events
        return self._lines(chunk)

    def finish(self) -> list[bytes]:
        """Return the event that lacks its final empty line, as some upstreams end so."""
        events = self._lines(b"\n") if self._rest else []
        last = self._line(b"")
        return events if last is None else [*events, last]

    def _lines(self, chunk: bytes) -> list[bytes]:
        if self._rest:
            if self._begun and b"\n" not in chunk and b"\r" not in chunk and not self._rest.endswith(b"\r"):
                # still the same line: it is copied once, when it ends, and not with each of its pieces
                self._rest += chunk
                self._bound()
                return []
            chunk = b"".join((self._rest, chunk))
        if not self._begun and (len(chunk) >= len(BOM) or not BOM.startswith(chunk)):
            chunk, self._begun = chunk.removeprefix(BOM), True
        # a final CR may be half of a CRLF
        held = b"\r" if chunk.endswith(b"\r") else b""
        lines = chunk[: len(chunk) - len(held)].splitlines(keepends=True)
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            held = lines.pop() + held
        self._rest = bytearray(held)
        events = [event for line in lines if (event := self._line(line.rstrip(b"\r\n"))) is not None]
        self._bound()
        return events

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            if not self._data:
                return None
            event = b"\n".join(self._data)
            self._data, self._size = [], 0
            return event
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(line)
        return None

    def _bound(self) -> None:
        if self._size + len(self._rest) > MAX_EVENT_BYTES:
            raise UpstreamFailed(f"the upstream sent an event of more than {MAX_EVENT_BYTES} bytes")
