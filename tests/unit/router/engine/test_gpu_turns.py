from __future__ import annotations

import asyncio

import pytest

from router.engine.gpu_turns import GpuTurns


class Engine:
    """An engine that starts when it gets its turn, and is ready when the test says so."""

    def __init__(self, turns: GpuTurns, *gpus: str) -> None:
        self.turns, self.gpus = turns, gpus
        self.is_starting = False
        self.is_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self.start())

    async def start(self) -> None:
        async with self.turns.turn(self.gpus):
            self.is_starting = True
            try:
                await self.is_ready
            finally:
                self.is_starting = False


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_engines_on_different_gpus_or_on_none_start_together() -> None:
    turns = GpuTurns()
    engines = [Engine(turns, "0"), Engine(turns, "1"), Engine(turns, "2", "3"), Engine(turns), Engine(turns)]
    await settle()
    assert all(engine.is_starting for engine in engines)
    for engine in engines:
        engine.task.cancel()


async def test_engines_that_share_a_gpu_start_one_after_another_in_their_order() -> None:
    turns = GpuTurns()
    first, both, second, last = Engine(turns, "0"), Engine(turns, "1", "0"), Engine(turns, "1"), Engine(turns, "0")
    for starting in ({first, second}, {both}, {last}):
        await settle()
        assert {engine for engine in (first, both, second, last) if engine.is_starting} == starting
        assert not turns.are_free(("0",))
        for engine in starting:
            engine.is_ready.set_result(None)
    await asyncio.gather(*(engine.task for engine in (first, both, second, last)))
    assert turns.are_free(("0", "1"))


@pytest.mark.parametrize("how", ["fails", "cancelled", "cancelled while it waits"])
async def test_an_engine_that_does_not_start_gives_its_turn_to_the_next(how: str) -> None:
    turns = GpuTurns()
    first = Engine(turns, "0")
    between = Engine(turns, "0")
    last = Engine(turns, "0")
    await settle()
    if how == "cancelled while it waits":
        between.task.cancel()
        first.is_ready.set_result(None)
    else:
        first.is_ready.set_exception(OSError("x")) if how == "fails" else first.task.cancel()
        await settle()
        assert between.is_starting
        between.is_ready.set_result(None)
    await settle()
    assert last.is_starting
    last.task.cancel()
    await asyncio.gather(first.task, between.task, last.task, return_exceptions=True)
    assert turns.are_free(("0",))


async def test_two_that_need_the_same_gpus_never_wait_for_each_other() -> None:
    turns = GpuTurns()
    one, other = Engine(turns, "1", "0"), Engine(turns, "0", "1")
    await settle()
    assert [one.is_starting, other.is_starting] == [True, False]
    one.is_ready.set_result(None)
    await settle()
    assert other.is_starting
    other.is_ready.set_result(None)
    await other.task
