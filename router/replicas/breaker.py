"""Circuit breaker: stops calls to a failing replica and later lets one probe through. Pure: time is an argument.

    closed ── `failures` in a row ──> open ── `cooldown_s` ──> half-open (one call at a time)
      ^                                ^                         │
      └───────────── success ──────────┼────── success ──────────┤
                                       └────── failure ──────────┘   (the cooldown doubles, up to a limit)

Only evidence about the replica's health counts: a lost connection, a 5xx or a timeout. A client's 4xx, an overload
or an invalid answer never counts.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES_TO_OPEN = 3
FIRST_COOLDOWN_S = 2.0
MAX_COOLDOWN_S = 60.0


@dataclass(slots=True)
class Breaker:
    """One replica's failure record. Times are seconds of the monotonic clock."""

    failures: int = 0
    opened_at: float | None = None
    cooldown_s: float = FIRST_COOLDOWN_S
    calls: int = 0
    probe: int = 0
    """number of the call that probes the open replica; 0 if no probe is in progress"""

    def allows(self, now: float) -> bool:
        """Return whether a call may be sent: the breaker is closed, or half-open without a probe in progress."""
        return self.opened_at is None or (not self.probe and now >= self.opened_at + self.cooldown_s)

    def cooling_down(self, now: float) -> bool:
        """Return whether the cooldown is running: open, without a probe in progress and not yet ready for one."""
        return not self.probe and not self.allows(now)

    def start_call(self, now: float) -> int:
        """Count a call and return its number. The first call after a cooldown is the probe."""
        self.calls += 1
        if self.opened_at is not None and self.allows(now):
            self.probe = self.calls
        return self.calls

    def succeeded(self) -> None:
        """Close the breaker, because the replica answered."""
        self.failures, self.opened_at, self.cooldown_s, self.probe = 0, None, FIRST_COOLDOWN_S, 0

    def failed(self, now: float, call: int) -> None:
        """Count a failure: open after `FAILURES_TO_OPEN` in a row, or again after a failed probe.

        While the breaker is open, only the probe changes its state. Calls that started before it opened, or that
        were sent as a last resort, do not.
        """
        self.failures += 1
        if self.opened_at is None:
            if self.failures >= FAILURES_TO_OPEN:
                self.opened_at = now
        elif call == self.probe:
            self.opened_at, self.cooldown_s, self.probe = now, min(self.cooldown_s * 2, MAX_COOLDOWN_S), 0

    def inconclusive(self, call: int) -> None:
        """End a call that shows nothing about the replica's health, such as a client disconnect or a 4xx."""
        if call == self.probe:
            self.probe = 0

    def retry_after_s(self, now: float) -> float:
        """Return the seconds until a call may be sent, or 0 if it may be sent now."""
        return 0.0 if self.opened_at is None else max(0.0, self.opened_at + self.cooldown_s - now)
