"""The access log: one line a request, written in batches."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from time import time
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from starlette.types import Scope

from router.record import RequestRecord
from router.types import NANO
from server import logs

logger = logging.getLogger(__name__)

FLUSH_S = 0.1
"""how late a line may be; a process that is killed loses so much of its log"""
MOST_WAITING = 64
"""lines that wait; to write more of them at once would hold up the requests"""
MAX_PATH = 200
_PROBES = frozenset({"/health", "/ready", "/metrics"})


class _Line(NamedTuple):
    at: float
    level: int
    method: str
    path: str
    record: RequestRecord

    @property
    def message(self) -> str:
        # The path is the client's. Quoted, it has no line breaks and no terminal codes; one too long is not cut, as
        # half a key would pass the redaction.
        path = quote(self.path) if len(self.path) <= MAX_PATH else f"(a path of {len(self.path)} characters)"
        return f"{self.method} {path} {self.record.status}"


class AccessLog:
    """Used from the event loop's thread only. People who read along at a terminal see each line at once."""

    def __init__(self) -> None:
        output = logs.output()
        self._output = None if output is None or output.for_people else output
        self._waiting: list[_Line] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def write(self, record: RequestRecord, scope: Scope) -> None:
        """Log one finished request. Probes are logged at DEBUG, so not by default, also when not ready yet."""
        path = scope["path"]
        level = logging.WARNING if record.status >= 500 else logging.INFO
        if path in _PROBES and (record.status < 400 or record.status == 503):
            level = logging.DEBUG
        if not logger.isEnabledFor(level):
            return
        line = _Line(time(), level, scope["method"], path, record)
        if self._output is None:
            logger.log(level, "%s", line.message, extra={"fields": _fields(record)})
            return
        self._waiting.append(line)
        if self._closed or len(self._waiting) >= MOST_WAITING:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        if self._output is not None and waiting:
            self._output.write_lines(map(_as_json, waiting))

    def close(self) -> None:
        """Write what waits; from now on each line is written at once."""
        self._closed = True
        self.flush()


def _as_json(line: _Line) -> str:
    head = {
        "time": datetime.fromtimestamp(line.at, UTC).isoformat(timespec="milliseconds"),
        "level": "info" if line.level == logging.INFO else logging.getLevelName(line.level).lower(),
        "logger": __name__,
        "message": line.message,
    }
    return msgspec.json.encode(head | _fields(line.record)).decode()


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
