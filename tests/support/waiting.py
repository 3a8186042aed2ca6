"""How long tests wait. None of them measures a machine: what must happen has ages, and a wait ends when it has."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""for what must happen: a hundred times what a quiet machine takes, and far less than what is `NEVER_S`"""
NEVER_S = 300.0
"""a limit that must not be what ends a wait: whoever waited for it would have lost patience before"""


def wait_until(condition: Callable[[], object], what: str = "what was waited for") -> None:
    """Wait until it is so."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"not so after {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.01)
