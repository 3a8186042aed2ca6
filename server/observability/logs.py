"""Logs: one JSON object a line on stderr, or plain lines at a terminal. They contain no prompts and no keys."""

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
"""bytes that a pipe accepts atomically, so that lines of several processes do not mix (POSIX, write())"""


def configure(secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Send every log record of this process to `stream` (default: stderr), with the secrets redacted.

    This includes uvicorn's loggers. uvicorn's access log is switched off. Start uvicorn with `log_config=None`.
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
    """The handler of every log line. It redacts the finished text, so tracebacks are redacted, too.

    A secret shorter than the shortest client key (a placeholder such as "EMPTY") is not redacted, because that would
    spoil every line that contains the word.
    """

    def __init__(self, stream: TextIO, secrets: Iterable[str]) -> None:
        super().__init__(stream)
        self.is_terminal = stream.isatty()
        self.setFormatter(_HumanFormatter() if self.is_terminal else _JsonFormatter())
        forms = {form for secret in secrets if len(secret) >= MIN_KEY_LENGTH for form in _encoded_forms(secret)}
        self._secret_forms = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._secret_forms)))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line with the secrets redacted."""
        return self._redacted(super().format(record))

    def write_lines(self, lines: Iterable[str]) -> None:
        """Write finished lines with the secrets redacted."""
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
        except (
            OSError,
            ValueError,
        ):  # the reader of the log is gone; the server continues, as with logging's own handlers
            return

    def _redacted(self, text: str) -> str:
        # A search for each form is a hundred times faster than the pattern. Nearly every line has no match.
        return self._pattern.sub(REDACTED, text) if any(form in text for form in self._secret_forms) else text


def current_handler() -> RedactingHandler | None:
    """Return the handler of this process, or None if `configure` was not called."""
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
    """Return the secret in every encoding that a line can have, such as a repr in JSON in JSON.

    Most keys have only one form.
    """
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
