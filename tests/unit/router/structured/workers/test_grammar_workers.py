"""Grammar libraries in processes that can be killed. The processes are real."""

import asyncio
import os
import signal

import pytest

from router.structured.workers.grammar_workers import (
    GrammarSupport,
    GrammarWorkers,
    Match,
    WorkLimitExceeded,
)
from tests.support.grammars import ENDLESS, is_busy, worker_pids


async def test_what_never_ends_is_given_up_and_what_waited_is_done(hasty):
    hanging = [asyncio.create_task(hasty.match("grammar", ENDLESS, "a" * 2_000)) for _ in range(2)]
    assert await hasty.match("regex", "a+", "aa") == Match("valid")
    assert [type(error) for error in await asyncio.gather(*hanging, return_exceptions=True)] == [WorkLimitExceeded] * 2


async def test_a_schema_that_takes_too_long_is_not_enforced_and_not_tried_again(hasty, monkeypatch):
    asked = []

    async def give_up(*request):
        asked.append(request)
        raise WorkLimitExceeded("too long")

    monkeypatch.setattr(hasty, "_request", give_up)
    for _ in range(3):
        assert await hasty.grammar_support("xgrammar", "regex", "a") == GrammarSupport("none", "too long")
    assert len(asked) == 1


async def test_many_callers_ask_once(workers, monkeypatch):
    asked = []
    ask = workers._request

    async def counted(*request):
        asked.append(request)
        return await ask(*request)

    monkeypatch.setattr(workers, "_request", counted)
    found = await asyncio.gather(*(workers.grammar_support("guidance", "regex", "a+") for _ in range(20)))
    assert found == [GrammarSupport("whole")] * 20
    assert len(asked) == 1


async def test_many_callers_share_two_processes_and_get_their_own_answers(workers):
    async def ask(n: int) -> bool:
        return (await workers.match("regex", f"a{{{n}}}", "a" * 10)).status == "valid"

    assert await asyncio.gather(*map(ask, range(20))) == [n == 10 for n in range(20)]
    assert len(worker_pids()) == 2


async def test_one_caller_needs_one_process(workers):
    assert worker_pids() == []
    for _ in range(3):
        await workers.match("regex", "a", "a")
    assert len(worker_pids()) == 1


async def test_a_process_that_was_killed_is_replaced(workers):
    await workers.match("regex", "a", "a")
    os.kill(worker_pids()[0], signal.SIGKILL)
    assert await workers.match("regex", "a", "a") == Match("valid")


async def test_a_process_killed_twice_in_the_middle_is_given_up():
    workers = GrammarWorkers(limit_s=30)
    hanging = asyncio.create_task(workers.match("grammar", ENDLESS, "a" * 2_000))
    killed = 0
    for _ in range(2):
        killed = await is_busy(besides=killed)
        os.kill(killed, signal.SIGKILL)
    with pytest.raises(WorkLimitExceeded):
        await hanging
    await workers.close()


async def test_a_caller_that_leaves_ends_its_process_and_confuses_no_other():
    workers = GrammarWorkers(limit_s=30, processes=1)
    leaving = asyncio.create_task(workers.match("grammar", ENDLESS, "a" * 2_000))
    busy = await is_busy()
    waiting = asyncio.create_task(workers.match("regex", "a", "a"))
    leaving.cancel()
    assert await waiting == Match("valid")
    assert busy not in worker_pids()
    await workers.close()


async def test_one_of_many_callers_may_leave(workers):
    first, second = (asyncio.create_task(workers.grammar_support("guidance", "regex", "a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).enforcement == "whole"


async def test_closed_it_leaves_no_process_and_nobody_waiting():
    workers = GrammarWorkers(limit_s=30, processes=1)
    hanging = asyncio.create_task(workers.match("grammar", ENDLESS, "a" * 2_000))
    waiting = asyncio.create_task(workers.grammar_support("guidance", "regex", "a"))
    await is_busy()
    await workers.close()
    assert worker_pids() == []
    with pytest.raises(WorkLimitExceeded):
        await hanging
    assert (await waiting).enforcement == "none"
