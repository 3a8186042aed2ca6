"""Incremental decoding of server-sent events (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

from router.errors import UpstreamFailed

BOM = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 8 * 1024 * 1024


class EventDecoder:
    """Bytes as they come in, payloads out. Works on bytes, so a character may be split anywhere."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the `data` of each event that this chunk completes.

        Raises:
            UpstreamFailed: an event is longer than 8 MiB.
        """
        text = self._rest + chunk
        if not self._begun and (len(text) >= len(BOM) or not BOM.startswith(text)):
            text, self._begun = text.removeprefix(BOM), True
        # a final CR may be half of a CRLF
        held = b"\r" if text.endswith(b"\r") else b""
        lines = text[: len(text) - len(held)].splitlines(keepends=True)
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            held = lines.pop() + held
        self._rest = held
        events = [event for line in lines if (event := self._line(line.rstrip(b"\r\n"))) is not None]
        if self._size + len(held) > MAX_EVENT_BYTES:
            raise UpstreamFailed(f"the upstream sent an event of more than {MAX_EVENT_BYTES} bytes")
        return events

    def finish(self) -> list[bytes]:
        """Return the event that lacks its final empty line, as some upstreams end so."""
        events = self.feed(b"\n") if self._rest else []
        last = self._line(b"")
        return events if last is None else [*events, last]

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
