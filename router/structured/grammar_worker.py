"""A grammar worker process: handles one request after the other, until its standard input ends.

    python -m router.structured.grammar_worker SECONDS_A_REQUEST

A request that takes longer ends the process, whichever library is running: the kernel sends SIGALRM, which has no
handler. A request that takes more than MAX_REQUEST_BYTES of memory ends the process too.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import jsonschema_rs
import msgspec

from router.messages.strict_json import loads
from router.structured.answer import check
from router.structured.answer.instance import find_fault
from router.structured.constraint import Constraint
from router.structured.engine import guidance, xgrammar_lite
from router.structured.request import schema
from router.structured.workers.grammar_workers import CheckResult, Fault, GrammarSupport, GrammarWorkers
from router.types import Backend, FormatKind

MAX_REQUEST_BYTES = 2 << 30
"""memory of a request, in addition to that of the libraries"""


def grammar_support(backend: Backend, kind: FormatKind, source: str) -> GrammarSupport:
    """Return how much of a format the backend's decoding enforces."""
    support = guidance.grammar_support if backend == "guidance" else xgrammar_lite.grammar_support
    return support(kind, source)


def instance_fault(text: str, instance: str) -> Fault | None:
    """Return where and why the JSON text `instance` breaks the schema `text`, or None if it satisfies the schema."""
    return find_fault(*_compiled(text), loads(instance))


@lru_cache(maxsize=8)
def _compiled(text: str) -> tuple[Any, jsonschema_rs.Validator]:
    return loads(text), jsonschema_rs.validator_for(text, **schema.compile_options())


def check_message(constraint: dict[str, Any], message: dict[str, Any], at_limit: bool) -> CheckResult:
    """Check a message against a constraint, both as the gateway sent them."""
    workers = _InProcessWorkers()
    return asyncio.run(
        check.check_message(msgspec.convert(constraint, Constraint), message, workers, at_limit=at_limit)
    )


class _InProcessWorkers(GrammarWorkers):
    """Handles requests in this process, instead of sending them to a worker."""

    async def _request(self, *request: Any) -> bytes:
        name, *arguments = request
        return msgspec.json.encode(HANDLERS[name](*arguments))


HANDLERS: dict[str, Callable[..., Any]] = {
    "grammar_support": grammar_support,
    "match": guidance.match,
    "grammar_fault": guidance.grammar_fault,
    "schema_fault": schema.schema_fault,
    "instance_fault": instance_fault,
    "check_message": check_message,
}


def main() -> None:
    """Handle requests from standard input. The command line gives the limit in seconds for each."""
    limit_s = float(sys.argv[1])
    _close_inherited_files()
    Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, kill this process and not the gateway
    _limit_memory()
    while request := _read(sys.stdin.buffer):
        name, *arguments = msgspec.json.decode(request)
        if arguments[0] == "xgrammar":
            xgrammar_lite.load()  # once; on a cold disk this takes longer than a request may
            _limit_memory()
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        reply = msgspec.json.encode(HANDLERS[name](*arguments))
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.buffer.write(len(reply).to_bytes(4) + reply)
        sys.stdout.buffer.flush()


def _read(source: BinaryIO) -> bytes:
    return source.read(int.from_bytes(source.read(4)))


def _close_inherited_files() -> None:
    """Close inherited file descriptors, such as the gateway's socket: uvloop passes on all inheritable ones."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with suppress(OSError):  # the descriptor of the listing itself
                os.close(int(name))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    allowed = pages * resource.getpagesize() + MAX_REQUEST_BYTES
    _, hard_limit = resource.getrlimit(resource.RLIMIT_AS)
    soft_limit = allowed if hard_limit == resource.RLIM_INFINITY else min(allowed, hard_limit)
    resource.setrlimit(resource.RLIMIT_AS, (soft_limit, hard_limit))


if __name__ == "__main__":
    main()
