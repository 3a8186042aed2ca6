"""When to stop sending to a replica that fails, and when to try it again. Pure: time is an argument.

    closed ── `failures` in a row ──> open ── `cooldown_s` ──> half-open (one call at a time)
      ^                                ^                         │
      └───────────── success ──────────┼────── success ──────────┤
                                       └────── failure ──────────┘   (the cooldown doubles, up to a limit)

Only what speaks of the replica's health counts: a lost connection, a 5xx, a timeout. A client's 4xx, an
overload or an invalid answer never does.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES_TO_OPEN = 3
FIRST_COOLDOWN_S = 2.0
LONGEST_COOLDOWN_S = 60.0


@dataclass(slots=True)
class Breaker:
    """One replica's record of failures; seconds of the monotonic clock."""

    failures: int = 0
    opened_at: float | None = None
    cooldown_s: float = FIRST_COOLDOWN_S
    calls: int = 0
    probe: int = 0
    """the number of the one call that tests an open replica; 0: none is under way"""

    def allows(self, now: float) -> bool:
        """Return whether a call may be sent: closed, or half-open with no probe under way."""
        return self.opened_at is None or (not self.probe and now >= self.opened_at + self.cooldown_s)

    def resting(self, now: float) -> bool:
        """Return whether nothing is sent: neither closed, nor under probe, nor ready for one."""
        return not self.probe and not self.allows(now)

    def sent(self, now: float) -> int:
        """Return the number of a call that was sent; the first one after a cooldown is the probe."""
        self.calls += 1
        if self.opened_at is not None and self.allows(now):
            self.probe = self.calls
        return self.calls

    def succeeded(self) -> None:
        """The replica answered: close."""
        self.failures, self.opened_at, self.cooldown_s, self.probe = 0, None, FIRST_COOLDOWN_S, 0

    def failed(self, now: float, call: int) -> None:
        """The replica failed: open on the third in a row, or again after a failed probe.

        While it is open, calls from before (or made for want of any other replica) decide nothing.
        """
        self.failures += 1
        if self.opened_at is None:
            if self.failures >= FAILURES_TO_OPEN:
                self.opened_at = now
        elif call == self.probe:
            self.opened_at, self.cooldown_s, self.probe = now, min(self.cooldown_s * 2, LONGEST_COOLDOWN_S), 0

    def undecided(self, call: int) -> None:
        """The call ended without telling anything of the replica's health (the client left, a 4xx)."""
        if call == self.probe:
            self.probe = 0

    def retry_after_s(self, now: float) -> float:
        """Return the seconds until a call may be sent; 0 when it may now."""
        return 0.0 if self.opened_at is None else max(0.0, self.opened_at + self.cooldown_s - now)
