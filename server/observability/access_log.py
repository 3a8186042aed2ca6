"""The access log: one line for each request, written in batches."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from functools import lru_cache
from time import time
from typing import NamedTuple
from urllib.parse import quote

import msgspec
from starlette.types import Scope

from router.record import RequestRecord
from router.types import NANO
from server.observability import decision_log, logs

logger = logging.getLogger(__name__)

FLUSH_S = 0.1
"""longest delay of a line; a process that is killed loses the lines of this time"""
MAX_PENDING = 64
"""largest batch; to write more lines at once would delay the requests"""
MAX_PATH_LENGTH = 200
_PROBE_PATHS = frozenset({"/health", "/ready", "/metrics"})

_LEVELS = {level: logging.getLevelName(level).lower() for level in (logging.DEBUG, logging.INFO, logging.WARNING)}
_quoted = lru_cache(maxsize=256)(quote)


class _PendingLine(NamedTuple):
    finished_at: float
    level: int
    method: str
    path: str
    record: RequestRecord

    @property
    def message(self) -> str:
        # The client chose the path. Quoting removes line breaks and terminal codes. A long path is not cut, because
        # the redaction would miss half a key.
        path = _quoted(self.path) if len(self.path) <= MAX_PATH_LENGTH else f"(a path of {len(self.path)} characters)"
        return f"{self.method} {path} {self.record.status}"


class AccessLog:
    """Writes the access log. For the event loop's thread only. At a terminal each line is written at once."""

    def __init__(self) -> None:
        handler = logs.current_handler()
        self._handler = None if handler is None or handler.is_terminal else handler
        self._pending: list[_PendingLine] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def write(self, record: RequestRecord, scope: Scope) -> None:
        """Log one finished request. Probes have level DEBUG, also those with status 503, so they are off by default."""
        path = scope["path"]
        level = logging.WARNING if record.status >= 500 else logging.INFO
        if path in _PROBE_PATHS and (record.status < 400 or record.status == 503):
            level = logging.DEBUG
        if not logger.isEnabledFor(level):
            return
        pending = _PendingLine(time(), level, scope["method"], path, record)
        if self._handler is None:
            logger.log(level, "%s", pending.message, extra={"fields": _Line.from_pending(pending).fields()})
            return
        self._pending.append(pending)
        if self._closed or len(self._pending) >= MAX_PENDING:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write the pending lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, []
        if self._handler is not None and pending:
            self._handler.write_lines([_as_json(line) for line in pending])

    def close(self) -> None:
        """Write the pending lines. From now on each line is written at once."""
        self._closed = True
        self.flush()


class _Line(msgspec.Struct, omit_defaults=True):
    """The fields of a line. Those that do not apply to a request are left out."""

    time: str
    level: str
    logger: str
    message: str
    request_id: str
    client_request_id: str = ""
    endpoint: str = ""
    route: str = ""
    model: str = ""
    reason: str = ""
    attempts: int | None = None
    stream: bool | None = None
    structured: str = ""
    learned: decision_log.LearnedDecision | None = None
    status: int | None = None
    outcome: str = ""
    error_code: str = ""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    saved_usd: float | None = None
    first_token_ms: float | None = None
    duration_ms: float | None = None

    @classmethod
    def from_pending(cls, pending: _PendingLine) -> _Line:
        record = pending.record
        usage, (cost, _, saved) = record.usage, record.bill()
        return cls(
            datetime.fromtimestamp(pending.finished_at, UTC).isoformat(timespec="milliseconds"),
            _LEVELS[pending.level],
            __name__,
            pending.message,
            record.request_id,
            record.client_request_id,
            record.endpoint,
            record.route,
            record.model,
            record.reason,
            len(record.attempts),
            record.stream,
            record.structured,
            decision_log.learned_decision(record),
            record.status,
            record.outcome,
            record.error_code,
            usage.prompt if usage else None,
            usage.cached if usage else None,
            usage.completion if usage else None,
            cost / NANO if cost is not None and record.attempts else None,
            None if saved is None else saved / NANO,
            _ms(record.first_token_s),
            _ms(record.finished - record.started),
        )

    def fields(self) -> dict[str, object]:
        """Return the fields that logging does not add by itself."""
        standard_fields = ("time", "level", "logger", "message")
        return {name: value for name, value in msgspec.to_builtins(self).items() if name not in standard_fields}


def _as_json(pending: _PendingLine) -> str:
    return msgspec.json.encode(_Line.from_pending(pending)).decode()


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
