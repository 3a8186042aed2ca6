"""The end of an attempt that failed: its lease is released, and its usage estimated."""

from __future__ import annotations

from router.attempt.failure import Failure
from router.attempt.retry import heed_pause
from router.replicas.pool import Health, Lease
from router.types import ChatCall


def end_attempt(lease: Lease, call: ChatCall, now: float, failure: str, health: Health) -> None:
    """Release the lease of an attempt that ends with this failure. `now`: seconds of the monotonic clock."""
    lease.attempt.failure = failure
    lease.release(now, health)
    lease.attempt.estimate_usage(call)


def end_failed(lease: Lease, call: ChatCall, now: float, failure: Failure, tried: list[str]) -> Failure:
    """End an attempt that failed, and add its replica to those that were tried.

    Returns:
        The failure, with the pause that the upstream asked for.
    """
    failure = heed_pause(lease, failure, now)
    tried.append(lease.replica.name)
    end_attempt(lease, call, now, failure.reason or "rejected", "bad" if failure.speaks_against_replica else "unknown")
    return failure
