"""A lease on a replica of the model that is asked. If the model is not always loaded, the request waits for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic

from router.attempt.ladder import Ladder
from router.errors import NotLoaded
from router.messages.conversation import prefix_key
from router.record import ModelWait, RequestRecord
from router.replicas.load_state import LoadState
from router.replicas.pool import Lease, Pool
from router.types import ChatCall


async def acquire(pool: Pool, call: ChatCall, record: RequestRecord, ladder: Ladder) -> Lease:
    """Lease a replica of the ladder's current model; wait for the model if it is loaded on demand.

    Raises:
        ApiError: see `Pool.acquire`; or the model was not loaded in time.
    """
    key = prefix_key(call, record.session) if pool.balances_by_prefix else None
    if pool.load_state is None:
        return pool.acquire(monotonic(), tried=ladder.tried, last_resort=ladder.is_last_resort, key=key)
    lease = partial(pool.acquire, tried=ladder.tried, last_resort=ladder.is_last_resort, key=key)
    return await _acquire_when_loaded(pool, pool.load_state, record, lease)


async def _acquire_when_loaded(
    pool: Pool, load_state: LoadState, record: RequestRecord, lease: Callable[[float], Lease]
) -> Lease:
    """Lease a replica with `lease`. Wait for the model if it is loaded on demand, for `timeouts.load_s` at most.

    The request counts as waiting from its first wait on, and the fleet loads the model for it. If the client leaves,
    the wait is cancelled, and nothing is left of it. While a stream waits it is held, so comments keep it alive.

    Raises:
        Unavailable: no replica can take the request, or the model was not loaded in time.
    """
    began = monotonic()
    end_by = began + pool.model.timeouts.load_s
    held = record.held
    waited = False
    try:
        while True:
            try:
                return lease(monotonic())
            except NotLoaded:
                if (left_s := end_by - monotonic()) <= 0:
                    raise
            waited = record.held = True
            await load_state.wait(lambda: load_state.is_loaded or not load_state.may_wait, since=began, within_s=left_s)
    finally:
        record.held = held
        if waited:
            record.waits.append(ModelWait(pool.model.name, monotonic() - began))
