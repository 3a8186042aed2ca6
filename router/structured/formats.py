"""What the values of JSON Schema's string formats look like, in words for models. Pure.

Few engines enforce a format while they decode, and models write times without an offset, which no validator accepts.
"""

from __future__ import annotations

from collections.abc import Mapping

WANTED: Mapping[str, str] = {
    "date-time": "RFC 3339 date and time with its offset from UTC, such as 2026-01-31T12:00:00Z",
    "time": "RFC 3339 time with its offset from UTC, such as 12:00:00Z",
    "date": "RFC 3339 date, such as 2026-01-31",
    "duration": "ISO 8601 duration, such as P3DT12H",
    "email": "email address without a name, such as ann@example.com",
    "uri": "absolute URI with its scheme, such as https://example.com/a",
    "uuid": "UUID, such as 123e4567-e89b-42d3-a456-426614174000",
}
"""by the value of `format`"""
