"""Circuit breaker: stops calls to a failing replica and later lets one probe through. Pure: time is an argument.

    closed ── too many failures ──> open ── `cooldown_s` ──> half-open (one call at a time)
      ^                              ^                         │
      └───────────── success ────────┼────── success ──────────┤
                                     └────── failure ──────────┘   (the cooldown doubles, up to a limit)

Too many are `FAILURES_TO_OPEN` in a row, so that a dead replica is noticed at once, or half of the last `WINDOW_CALLS`
calls, of at least `MIN_CALLS`, so that one that fails every second call is noticed, too.

Only evidence about the replica's health counts: a lost connection, a 5xx or a timeout. A client's 4xx, an overload
or an invalid answer never counts.
"""

from __future__ import annotations

from dataclasses import dataclass

FAILURES_TO_OPEN = 3
WINDOW_CALLS = 20
MIN_CALLS = 10
FAILURE_RATE_TO_OPEN = 0.5
FIRST_COOLDOWN_S = 2.0
MAX_COOLDOWN_S = 30.0

EMPTY_WINDOW = 1
FLAWLESS_WINDOW = 1 << WINDOW_CALLS


@dataclass(slots=True)
class Breaker:
    """One replica's failure record. Times are seconds of the monotonic clock."""

    failures: int = 0
    """in a row"""
    window: int = EMPTY_WINDOW
    """the outcomes of the last calls as bits, the newest last, 1: failed; the highest bit only marks the beginning"""
    opened_at: float | None = None
    cooldown_s: float = FIRST_COOLDOWN_S
    calls: int = 0
    opened_after: int = 0
    """the number of calls that had been started when the breaker opened"""
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

    def succeeded(self, call: int) -> None:
        """Count a success: the replica answered. It closes an open breaker if the call started after it opened.

        Of a replica that fails every second call, the answers to earlier calls do not show that it has recovered.
        """
        if self.opened_at is None:
            self.failures = 0
            if self.window != FLAWLESS_WINDOW:
                self._note(failed=False)
        elif call > self.opened_after:
            self.failures, self.window, self.opened_at = 0, EMPTY_WINDOW, None
            self.cooldown_s, self.probe = FIRST_COOLDOWN_S, 0

    def failed(self, now: float, call: int) -> None:
        """Count a failure: open after too many, or again after a failed probe.

        While the breaker is open, only the probe changes its state. Calls that started before it opened, or that
        were sent as a last resort, do not.
        """
        self.failures += 1
        if self.opened_at is None:
            self._note(failed=True)
            if self.failures >= FAILURES_TO_OPEN or self._fails_too_often():
                self.opened_at, self.opened_after = now, self.calls
        elif call == self.probe:
            self.opened_at, self.cooldown_s, self.probe = now, min(self.cooldown_s * 2, MAX_COOLDOWN_S), 0

    def inconclusive(self, call: int) -> None:
        """End a call that shows nothing about the replica's health, such as a client disconnect or a 4xx."""
        if call == self.probe:
            self.probe = 0

    def retry_after_s(self, now: float) -> float:
        """Return the seconds until a call may be sent, or 0 if it may be sent now."""
        return 0.0 if self.opened_at is None else max(0.0, self.opened_at + self.cooldown_s - now)

    @property
    def evidence(self) -> str:
        """Return the failures that opened it, in words."""
        if self.failures >= FAILURES_TO_OPEN:
            return f"failed {self.failures} times in a row"
        failed, calls = self._counted()
        return f"failed {failed} of its last {calls} calls"

    def _fails_too_often(self) -> bool:
        failed, calls = self._counted()
        return calls >= MIN_CALLS and failed >= FAILURE_RATE_TO_OPEN * calls

    def _counted(self) -> tuple[int, int]:
        """Return how many calls of the window failed, and how many there are."""
        return self.window.bit_count() - 1, self.window.bit_length() - 1

    def _note(self, *, failed: bool) -> None:
        window = self.window << 1 | failed
        if window.bit_length() - 1 > WINDOW_CALLS:  # the oldest outcome leaves
            window = window & ((1 << WINDOW_CALLS) - 1) | 1 << WINDOW_CALLS
        self.window = window
