"""Tests of sockets on both event loops: uvloop is what serves, asyncio's is what else one may run on."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def open_sockets() -> set[str]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return {name for name in found if name.startswith("socket:")}


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run it on each loop. No socket may be left open, and no exception that nobody took."""

    @pytest.mark.parametrize("loop_kind", LOOPS)
    @functools.wraps(test)
    def wrapped(*args: Any, loop_kind: str, **kwargs: Any) -> None:
        unhandled: list[Any] = []
        before = open_sockets()
        with asyncio.Runner(loop_factory=LOOPS[loop_kind]) as runner:
            runner.get_loop().set_exception_handler(lambda _, context: unhandled.append(context))
            runner.run(test(*args, **kwargs))
            gc.collect(1)  # what is older is not of this test
        assert not unhandled
        assert open_sockets() <= before

    signature = inspect.signature(test)
    kind = inspect.Parameter("loop_kind", inspect.Parameter.KEYWORD_ONLY)
    wrapped.__signature__ = signature.replace(parameters=[*signature.parameters.values(), kind])  # type: ignore[attr-defined]
    return wrapped
