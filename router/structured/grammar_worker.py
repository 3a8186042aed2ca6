"""A process of the workshop: does one request after the other, until its standard input ends.

    python -m router.structured.grammar_worker SECONDS_A_REQUEST

A request that takes longer ends the process, in whatever library it is: the alarm is the kernel's, and nobody handles
it. So does one that takes more memory than MEMORY.
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
from router.structured.answer.instance import fault_of
from router.structured.constraint import Constraint
from router.structured.engine import guidance, xgrammar_lite
from router.structured.request import schema
from router.structured.workers.grammar_workers import Fault, Finding, GrammarSupport, GrammarWorkers
from router.types import Backend, FormatKind

MEMORY = 2 << 30
"""bytes that a request may take beyond what the libraries do"""


def enforces(backend: Backend, kind: FormatKind, source: str) -> GrammarSupport:
    """Return how much of a form the backend's decoding holds an answer to."""
    ask = guidance.enforces if backend == "guidance" else xgrammar_lite.enforces
    return ask(kind, source)


def instance_fault(text: str, instance: str) -> Fault | None:
    """Return where and why a JSON text breaks a schema that was found valid; None: it does not."""
    return fault_of(*_compiled(text), loads(instance))


@lru_cache(maxsize=8)
def _compiled(text: str) -> tuple[Any, jsonschema_rs.Validator]:
    return loads(text), jsonschema_rs.validator_for(text, **schema.compile_options())


def find(constraint: dict[str, Any], message: dict[str, Any], at_limit: bool) -> Finding:
    """Return what a message is by a constraint, as the gateway sent it."""
    return asyncio.run(check.find(msgspec.convert(constraint, Constraint), message, _Inside(), at_limit=at_limit))


class _Inside(GrammarWorkers):
    """The workshop as seen from inside: what it is asked, it does itself."""

    async def _ask(self, *request: Any) -> bytes:
        name, *arguments = request
        return msgspec.json.encode(WORK[name](*arguments))


WORK: dict[str, Callable[..., Any]] = {
    "enforces": enforces,
    "match": guidance.match,
    "grammar_fault": guidance.grammar_fault,
    "schema_fault": schema.fault_of,
    "instance_fault": instance_fault,
    "find": find,
}


def main() -> None:
    """Serve standard input, under the limit of seconds that the command line names."""
    limit_s = float(sys.argv[1])
    _close_all_but_standard()
    Path("/proc/self/oom_score_adj").write_text("1000")  # should memory run out: this process, not the gateway
    _limit_memory()
    while request := _read(sys.stdin.buffer):
        name, *arguments = msgspec.json.decode(request)
        if arguments[0] == "xgrammar":
            xgrammar_lite.load()  # once, and on a cold disk for longer than any request may take
            _limit_memory()
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        answer = msgspec.json.encode(WORK[name](*arguments))
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout.buffer.write(len(answer).to_bytes(4) + answer)
        sys.stdout.buffer.flush()


def _read(source: BinaryIO) -> bytes:
    return source.read(int.from_bytes(source.read(4)))


def _close_all_but_standard() -> None:
    """Close what uvloop passes on because it is inheritable, such as the gateway's own socket."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with suppress(OSError):  # the listing's own
                os.close(int(name))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    allowed = pages * resource.getpagesize() + MEMORY
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (allowed if most == resource.RLIM_INFINITY else min(allowed, most), most))


if __name__ == "__main__":
    main()
