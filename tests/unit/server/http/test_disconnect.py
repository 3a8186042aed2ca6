from __future__ import annotations

import asyncio

import pytest

from server.http.disconnect import ClientDisconnected, DisconnectWatch, of


async def answer(presence: DisconnectWatch, seconds: float = 30.0) -> str:
    with presence:
        await asyncio.sleep(seconds)
    return "answered"


async def begun(presence: DisconnectWatch) -> asyncio.Task[str]:
    task = asyncio.create_task(answer(presence))
    await asyncio.sleep(0)
    return task


async def test_who_leaves_ends_every_request_of_the_connection() -> None:
    presence = DisconnectWatch(asyncio.get_running_loop())
    tasks = [await begun(presence), await begun(presence)]
    presence.leave()
    for task in tasks:
        with pytest.raises(ClientDisconnected):
            await task
        assert not task.cancelling(), "what follows in the task is not cancelled"


async def test_who_left_before_is_not_answered() -> None:
    presence = DisconnectWatch(asyncio.get_running_loop())
    presence.leave()
    with pytest.raises(ClientDisconnected):
        await answer(presence)


async def test_who_leaves_after_the_answer_disturbs_nothing() -> None:
    presence = DisconnectWatch(asyncio.get_running_loop())
    task = asyncio.create_task(answer(presence, 0))
    assert await task == "answered"
    presence.leave()
    assert not task.cancelled()


async def test_a_cancellation_by_another_stays_one() -> None:
    task = await begun(DisconnectWatch(asyncio.get_running_loop()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="x"), DisconnectWatch(asyncio.get_running_loop()):
        raise ValueError("x")


async def test_a_time_limit_within_is_not_taken_for_a_client_that_left() -> None:
    with pytest.raises(TimeoutError), DisconnectWatch(asyncio.get_running_loop()):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(30)


async def test_a_scope_carries_it() -> None:
    presence = DisconnectWatch(asyncio.get_running_loop())
    assert of({"extensions": presence.extensions}) is presence
