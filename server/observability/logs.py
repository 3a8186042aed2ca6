"""Logs: one JSON object a line to stderr, or plain lines where a person reads along. No prompts, no keys."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import quote

from server.settings import MIN_KEY_LENGTH

REDACTED = "[redacted]"
PIPE_BUF = 4096
"""bytes that a pipe takes whole, so that lines of several processes do not mix (POSIX, write())"""


def configure(secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Send every log record of this process to `stream` (default: stderr), without the secrets.

    uvicorn's loggers come along and its access log is off; start it with `log_config=None`.
    """
    root = logging.getLogger()
    root.handlers = [RedactingHandler(stream or sys.stderr, secrets)]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True


class RedactingHandler(logging.StreamHandler[TextIO]):
    """Where every line goes. The secrets are taken out of the finished text, so also out of tracebacks.

    A secret that is shorter than a client key may be (a placeholder such as "EMPTY") is left alone: to take it out
    would spoil every line that has the word.
    """

    def __init__(self, stream: TextIO, secrets: Iterable[str]) -> None:
        super().__init__(stream)
        self.is_terminal = stream.isatty()
        self.setFormatter(_HumanFormatter() if self.is_terminal else _JsonFormatter())
        forms = {form for secret in secrets if len(secret) >= MIN_KEY_LENGTH for form in _encoded_forms(secret)}
        self._secret_forms = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._secret_forms)))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without secrets."""
        return self._redacted(super().format(record))

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write finished lines, without secrets."""
        piece, size = list[str](), 0
        for line in lines:
            length = len(line.encode()) + 1
            if size + length > PIPE_BUF and piece:
                self._write(piece)
                piece, size = [], 0
            piece.append(line)
            size += length
        self._write(piece)

    def _write(self, lines: list[str]) -> None:
        try:
            self.stream.write(self._redacted("".join(f"{line}\n" for line in lines)))
            self.flush()
        except (OSError, ValueError):  # as logging does: whoever read the log is gone, the service goes on
            return

    def _redacted(self, text: str) -> str:
        # a search for each form is a hundred times faster than the pattern, and nearly always enough
        return self._pattern.sub(REDACTED, text) if any(form in text for form in self._secret_forms) else text


def current_handler() -> RedactingHandler | None:
    """Return where lines go; None where `configure` was not called."""
    return next((handler for handler in logging.getLogger().handlers if isinstance(handler, RedactingHandler)), None)


_ENCODINGS: tuple[Callable[[str], str], ...] = (
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: repr(text.encode(errors="surrogateescape"))[2:-1],
    lambda text: quote(text, errors="surrogateescape"),
    lambda text: quote(text, safe="", errors="surrogateescape"),
)


def _encoded_forms(secret: str) -> set[str]:
    """Return the secret as it may stand in a line: a repr within JSON within JSON. Most keys have one form only."""
    forms = {secret}
    for _ in range(3):
        forms |= {encode(form) for form in forms for encode in _ENCODINGS}
    return forms


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=str)


class _HumanFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        fields = getattr(record, "fields", {})
        pairs = [f"{name}={value}" for name, value in fields.items()]
        return " ".join([super().formatMessage(record), *pairs])
