"""The names of changes in a request, for the header `x-smallfirst-adapted`."""

from __future__ import annotations

from collections.abc import Sequence

MAX_NAMES = 16
"""a header must stay short, however many messages or tools a request has"""


def name_changes(changes: Sequence[str]) -> tuple[str, ...]:
    """Return at most MAX_NAMES changes; if there are more, the last entry says how many are left out."""
    left_out = len(changes) - MAX_NAMES
    return tuple(changes) if left_out <= 0 else (*changes[:MAX_NAMES], f"{left_out} more")
