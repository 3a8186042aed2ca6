"""What the benchmark commands share: progress lines, stopping on a signal, and exit statuses."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import uvloop

from benchmarks.common.load import LoadFailed
from benchmarks.common.processes import StartFailed
from benchmarks.common.report import Renderer, redraw
from benchmarks.common.servers import NoAnswer

Measure = Callable[[argparse.Namespace], Coroutine[Any, Any, None]]


def say(line: str) -> None:
    """Print a line of progress and flush it, so that it also appears in a pipe at once."""
    print(line, flush=True)


def say_on_stderr(line: str) -> None:
    """Print a line of progress where standard output is the report."""
    print(line, file=sys.stderr, flush=True)


def run_or_redraw(
    options: argparse.Namespace,
    measure: Measure,
    renderer: Renderer,
    *,
    cannot_run: tuple[type[Exception], ...] = (),
) -> int:
    """Measure, or only write the report again (`--redraw`); return the exit status.

    Args:
        options: the command line, with `redraw` and `out`.
        measure: measures and writes the report.
        renderer: for `--redraw`.
        cannot_run: exceptions for missing input; they end the command with status 2.
    """
    if options.redraw:
        redraw(options.out, renderer, say)
        return 0
    try:
        return run(measure(options))
    except cannot_run as error:
        print(error, file=sys.stderr)
        return 2


def run(main: Coroutine[Any, Any, None]) -> int:
    """Run a benchmark until everything that it started has ended; return the exit status.

    0: it was measured. 1: it could not be measured. 130: it was stopped.
    """

    async def stoppable() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await main

    try:
        uvloop.run(stoppable())
    except (LoadFailed, StartFailed, NoAnswer) as error:
        say(f"nothing is reported: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        with contextlib.suppress(OSError):
            say("stopped; nothing is reported")
        return 130
    return 0


def say_broken(promises: Iterable[str]) -> int:
    """Print each broken promise; return the exit status: 1 if there are any."""
    broken = list(promises)
    for promise in broken:
        say(f"not as promised: {promise}")
    return int(bool(broken))
