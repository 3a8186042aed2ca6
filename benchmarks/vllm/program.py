"""What both benchmarks do around their measuring: say, stop on a signal, end with a status."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any

import uvloop

from benchmarks.load import LoadFailed
from benchmarks.vllm.bodies import UnequalWork
from benchmarks.vllm.launch import StartFailed
from benchmarks.vllm.sides import NotThere


def say(line: str) -> None:
    """Print a line of progress at once, also into a pipe."""
    print(line, flush=True)


def run(main: Coroutine[Any, Any, None]) -> int:
    """Run a benchmark; return 0, 1 where it could not be measured, 130 where it was stopped.

    Whatever it started has ended by then.
    """

    async def stoppable() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await main

    try:
        uvloop.run(stoppable())
    except (LoadFailed, UnequalWork, StartFailed, NotThere) as error:
        say(f"nothing is reported: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        with contextlib.suppress(OSError):
            say("stopped; nothing is reported")
        return 130
    return 0
