"""Framing of server-sent events."""

from __future__ import annotations

from collections.abc import Sequence

DONE = b"data: [DONE]\n\n"

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # tells a proxy such as nginx not to buffer events
)


def events(payloads: Sequence[bytes]) -> bytes:
    """Return the payloads as events. A payload of several lines becomes several `data:` lines."""
    framed = b"data: " + b"\n\ndata: ".join(payloads) + b"\n\n"
    if framed.count(b"\n") == 2 * len(payloads):
        return framed
    return b"".join(b"data: " + payload.replace(b"\n", b"\ndata: ") + b"\n\n" for payload in payloads)


def comment(text: bytes) -> bytes:
    """Return a comment, which every client ignores. `text` is one line."""
    return b": " + text + b"\n\n"
