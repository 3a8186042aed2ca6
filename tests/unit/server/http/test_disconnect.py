from __future__ import annotations

import asyncio

import pytest

from server.http.disconnect import ClientDisconnected, DisconnectWatch, cancel_on_disconnect


async def answer(watch: DisconnectWatch, seconds: float = 30.0) -> str:
    with watch:
        await asyncio.sleep(seconds)
    return "answered"


async def begun(watch: DisconnectWatch) -> asyncio.Task[str]:
    task = asyncio.create_task(answer(watch))
    await asyncio.sleep(0)
    return task


async def test_who_leaves_ends_every_request_of_the_connection() -> None:
    watch = DisconnectWatch(asyncio.get_running_loop())
    tasks = [await begun(watch), await begun(watch)]
    watch.client_left()
    for task in tasks:
        with pytest.raises(ClientDisconnected):
            await task
        assert not task.cancelling(), "what follows in the task is not cancelled"


async def test_who_left_before_is_not_answered() -> None:
    watch = DisconnectWatch(asyncio.get_running_loop())
    watch.client_left()
    with pytest.raises(ClientDisconnected):
        await answer(watch)


async def test_who_leaves_after_the_answer_disturbs_nothing() -> None:
    watch = DisconnectWatch(asyncio.get_running_loop())
    task = asyncio.create_task(answer(watch, 0))
    assert await task == "answered"
    watch.client_left()
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
    watch = DisconnectWatch(asyncio.get_running_loop())
    assert cancel_on_disconnect({"extensions": watch.extensions}) is watch
