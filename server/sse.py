"""Framing of server-sent events."""

from __future__ import annotations

DONE = b"data: [DONE]\n\n"

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy in front must not hold events back
)


def event(payload: bytes) -> bytes:
    """Return one event; a payload of several lines becomes several `data:` lines."""
    if b"\n" in payload:
        payload = payload.replace(b"\n", b"\ndata: ")
    return b"data: " + payload + b"\n\n"


def comment(text: bytes) -> bytes:
    """Return a comment, which every client ignores; `text` is one line."""
    return b": " + text + b"\n\n"
