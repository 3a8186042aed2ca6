"""Grammar libraries and heavy schemas, in processes that can be killed: a compile or a match may never end.

The processes (`bench`) are started when they are first needed, and end with the gateway. One request at a time for
each; what waits is served in its order. Whoever stops waiting for a running request ends its process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple, Self, cast

import msgspec

from router.structured.constraint import Constraint
from router.types import Backend, ConstraintKind, FormatKind

GRACE_S = 10.0
"""beyond the limit, for a process that was stopped or still imports its libraries"""
_GIVEN_UP = "it takes more time or memory than it may"
_MOST_KNOWN_CHARS = 4 * 1024 * 1024
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")


class Fault(NamedTuple):
    """Where and why something is wrong."""

    path: str
    """JSON Pointer; empty: the root"""
    message: str


class Match(NamedTuple):
    """What a whole text is by a grammar. Incomplete: it could still become valid if more came."""

    word: Literal["valid", "incomplete", "invalid"]
    message: str = ""


class GrammarSupport(NamedTuple):
    """How much of a form decoding holds an answer to."""

    word: Literal["whole", "partial", "none"]
    why: str = ""
    lenient: bool = False
    """partial, and only with guidance's option of that name"""


class Finding(NamedTuple):
    """What a message was found to be."""

    kind: ConstraintKind
    fault: Fault | None = None
    changes: Mapping[str, Any] = {}
    """fields of the message that have to leave otherwise than they came"""
    finish_reason: str | None = None
    """what the answer has to say that it does not; `length`: it is cut"""


_ENFORCEMENT = msgspec.json.Decoder(GrammarSupport)
_MATCH = msgspec.json.Decoder(Match)
_FINDING = msgspec.json.Decoder(Finding)
_FAULT: msgspec.json.Decoder[Fault | None] = msgspec.json.Decoder(Fault | None)
_TEXT: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)


class TookTooLong(Exception):
    """The work was given up: it took more time or memory than it may."""


class GrammarWorkers:
    """At most `processes` of them; each request may take `limit_s` seconds.

    Every method raises TookTooLong, but for `enforces`: what takes too long to find out is not enforced.
    """

    def __init__(self, *, limit_s: float = 2.0, processes: int = 2) -> None:
        self._limit_s = limit_s
        self._places = asyncio.Semaphore(processes)
        self._idle: list[_Worker] = []
        self._started: list[_Worker] = []
        self._known = _Known(_MOST_KNOWN_CHARS)
        self._asked: dict[tuple[str, str, str], asyncio.Task[GrammarSupport]] = {}
        self._closed = False

    async def enforces(self, backend: Backend, kind: FormatKind, source: str) -> GrammarSupport:
        """Return how much of a form an engine with that backend holds its answers to; found out once.

        `source` is the schema's text, the regex, the grammar, or the JSON of the choices or of the structural tag.
        """
        key = (backend, kind, source)
        if known := self._known.get(key):
            return known
        if (task := self._asked.get(key)) is None:
            task = self._asked[key] = asyncio.create_task(self._find_out(key))
            task.add_done_callback(lambda _: self._asked.pop(key))
        return await asyncio.shield(task)

    async def match(self, kind: FormatKind, source: str, text: str) -> Match:
        """Judge a whole text by a regex, a grammar or a structural tag."""
        try:
            text.encode()
        except UnicodeEncodeError:
            return Match("invalid", "it holds half of a surrogate pair, which no UTF-8 text can")
        return _MATCH.decode(await self._ask("match", kind, source, text))

    async def grammar_fault(self, kind: FormatKind, source: str) -> str | None:
        """Return why a regex, a grammar or a structural tag cannot be used; None: it can."""
        return _TEXT.decode(await self._ask("grammar_fault", kind, source))

    async def schema_fault(self, text: str) -> Fault | None:
        """Return where and why a schema cannot be used; None: it can."""
        return _FAULT.decode(await self._ask("schema_fault", text))

    async def instance_fault(self, text: str, instance: str) -> Fault | None:
        """Return where and why a JSON text breaks a valid schema; None: it does not."""
        return _FAULT.decode(await self._ask("instance_fault", text, instance))

    async def find(self, constraint: Constraint, message: Mapping[str, Any], *, at_limit: bool) -> Finding:
        """Judge a long message, see `check.find`."""
        return _FINDING.decode(await self._ask("find", constraint, message, at_limit))

    async def close(self) -> None:
        """End all processes; whoever still waits gets TookTooLong."""
        self._closed = True
        await asyncio.gather(*(bench.end() for bench in self._started), *self._asked.values())

    async def _find_out(self, key: tuple[Backend, FormatKind, str]) -> GrammarSupport:
        try:
            found = _ENFORCEMENT.decode(await self._ask("enforces", *key))
        except TookTooLong as error:
            found = GrammarSupport("none", str(error))
        self._known.put(key, found)
        return found

    async def _ask(self, *request: object) -> bytes:
        """Have a request done; a process that ends although it had time left is replaced, once."""
        written = msgspec.json.encode(request, enc_hook=_stays_here)
        async with self._places:
            for _ in range(2):
                try:
                    bench = self._idle.pop() if self._idle else await self._start()
                    answer = await bench.do(written, self._limit_s + GRACE_S)
                except (OSError, EOFError):
                    continue
                self._idle.append(bench)
                return answer
        raise TookTooLong(_GIVEN_UP)

    async def _start(self) -> _Worker:
        bench = await _Worker.start(self._limit_s)
        self._started = [*filter(_Worker.is_running, self._started), bench]
        if self._closed:
            await bench.end()
            raise TookTooLong("the gateway is shutting down")
        return bench


def _stays_here(_validator: object) -> None:
    """Return what of a compiled schema is sent: it is compiled again, of its text."""


class _Worker:
    """One process, as seen from here."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._stdin = cast(asyncio.StreamWriter, process.stdin)
        self._stdout = cast(asyncio.StreamReader, process.stdout)

    @classmethod
    async def start(cls, limit_s: float) -> Self:
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "router.structured.grammar_worker", str(limit_s)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={name: value for name, value in os.environ.items() if name in _PASSED_ON},
                start_new_session=True,  # Ctrl-C is for the gateway, which ends this in its turn
            )
        )

    async def do(self, request: bytes, patience_s: float) -> bytes:
        """Return the answer to a request; without one, cancelled included, the process ends.

        Raises:
            TookTooLong: the request had all the time that it may have.
            EOFError, OSError: the process ended before.
        """
        answer = None
        try:
            async with asyncio.timeout(patience_s):
                self._stdin.write(len(request).to_bytes(4) + request)
                await self._stdin.drain()
                answer = await self._stdout.readexactly(int.from_bytes(await self._stdout.readexactly(4)))
                return answer
        except TimeoutError:
            raise TookTooLong(_GIVEN_UP) from None
        except (OSError, EOFError):
            if await self.end() == -signal.SIGALRM:
                raise TookTooLong(_GIVEN_UP) from None
            raise
        finally:
            if answer is None:
                self._kill()

    def is_running(self) -> bool:
        return self._process.returncode is None

    async def end(self) -> int:
        """Kill the process, unless it has ended; return how it ended."""
        self._kill()
        return await self._process.wait()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()


class _Known:
    """What was found out last, up to a number of characters."""

    def __init__(self, most_chars: int) -> None:
        self._most_chars = most_chars
        self._chars = 0
        self._found: OrderedDict[tuple[str, str, str], GrammarSupport] = OrderedDict()

    def get(self, key: tuple[str, str, str]) -> GrammarSupport | None:
        if key in self._found:
            self._found.move_to_end(key)
        return self._found.get(key)

    def put(self, key: tuple[str, str, str], found: GrammarSupport) -> None:
        self._found[key] = found
        self._chars += _size(key)
        while self._chars > self._most_chars:
            oldest, _ = self._found.popitem(last=False)
            self._chars -= _size(oldest)


def _size(key: tuple[str, str, str]) -> int:
    return len(key[-1]) + 500  # and what any entry takes
