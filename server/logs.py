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

from starlette.types import Scope

from router.cost import NANO
from router.record import RequestRecord
from server.settings import MIN_KEY_LENGTH

logger = logging.getLogger(__name__)

REDACTED = "[redacted]"
MAX_PATH = 200
_PROBES = frozenset({"/health", "/ready", "/metrics"})


def configure(secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Send every log record of this process to `stream` (default: stderr), without the secrets.

    uvicorn's loggers come along and its access log is off; start it with `log_config=None`.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    inner = _HumanFormatter() if stream.isatty() else _JsonFormatter()
    handler.setFormatter(RedactingFormatter(inner, secrets))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True


def access(record: RequestRecord, scope: Scope) -> None:
    """Log one finished request. Probes are logged at DEBUG, so not by default, also when not ready yet."""
    path = scope["path"]
    level = logging.WARNING if record.status >= 500 else logging.INFO
    if path in _PROBES and (record.status < 400 or record.status == 503):
        level = logging.DEBUG
    if not logger.isEnabledFor(level):
        return
    # The path is the client's. Quoted, it has no line breaks and no terminal codes; one too long is not cut, as
    # half a key would pass the redaction.
    path = quote(path) if len(path) <= MAX_PATH else f"(a path of {len(path)} characters)"
    logger.log(level, "%s %s %d", scope["method"], path, record.status, extra={"fields": _fields(record)})


class RedactingFormatter(logging.Formatter):
    """Takes the secrets out of the finished line, so also out of tracebacks and whatever else came into it.

    One that is shorter than a client key may be (a placeholder such as "EMPTY") is left alone: to take it out
    would spoil every line that has the word.
    """

    def __init__(self, inner: logging.Formatter, secrets: Iterable[str]) -> None:
        super().__init__()
        self._inner = inner
        forms = {form for secret in secrets if len(secret) >= MIN_KEY_LENGTH for form in _forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without secrets."""
        line = self._inner.format(record)
        return self._pattern.sub(REDACTED, line) if self._pattern else line


_ENCODINGS: tuple[Callable[[str], str], ...] = (
    lambda text: json.dumps(text)[1:-1],
    lambda text: repr(text)[1:-1],
    lambda text: repr(text.encode(errors="surrogateescape"))[2:-1],
    lambda text: quote(text, errors="surrogateescape"),
    lambda text: quote(text, safe="", errors="surrogateescape"),
)


def _forms(secret: str) -> set[str]:
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


def _fields(record: RequestRecord) -> dict[str, Any]:
    """Return what there is to say; what does not apply is left out."""
    usage = record.usage
    fields = {
        "request_id": record.request_id,
        "client_request_id": record.client_request_id,
        "endpoint": record.endpoint,
        "route": record.route,
        "model": record.model,
        "reason": record.reason,
        "attempts": len(record.attempts),
        "stream": record.stream,
        "structured": record.structured,
        "status": record.status,
        "outcome": record.outcome,
        "error_code": record.error_code,
        "prompt_tokens": usage.prompt if usage else None,
        "cached_tokens": usage.cached if usage else None,
        "completion_tokens": usage.completion if usage else None,
        "cost_usd": _usd(record.cost_nano_usd) if record.attempts else None,
        "saved_usd": _usd(record.saved_nano_usd),
        "first_token_ms": _ms(record.first_token_s),
        "duration_ms": _ms(record.finished - record.started),
    }
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _usd(nano: int | None) -> float | None:
    return None if nano is None else nano / NANO


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
