"""Reads how long an upstream asks clients to wait before the next request."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time

MAX_RETRY_AFTER_S = 3600.0


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the wait in seconds from `retry-after-ms` or `Retry-After` (seconds or a date; RFC 9110, 10.2.3).

    The names in `headers` must be lowercase, unless its lookup ignores case.
    """
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            seconds = float(milliseconds) / 1000
        elif (value := headers.get("retry-after")) is None:
            return None
        else:
            value = value.strip()
            date = None if value.replace(".", "", 1).isdigit() else parsedate_to_datetime(value)
            seconds = float(value) if date is None else date.timestamp() - time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_S) if seconds == seconds else None  # noqa: PLR0124 - NaN
