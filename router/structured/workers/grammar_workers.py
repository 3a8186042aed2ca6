"""Runs grammar libraries and heavy schemas in processes that can be killed: a compile or a match may never end.

The processes (`grammar_worker`) start when they are first needed and end with the gateway. Each handles one request at
a time; waiting requests are served in order. If the caller of a running request is cancelled, its process is killed.
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
"""beyond the limit, for a process that was stopped or that still imports its libraries"""
_LIMIT_EXCEEDED = "it exceeds the limit of time or memory"
_MAX_CACHED_CHARS = 4 * 1024 * 1024
_PASSED_ENV = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")


class Fault(NamedTuple):
    """Where and why something is wrong."""

    path: str
    """JSON Pointer; empty for the root"""
    message: str


class Match(NamedTuple):
    """How a whole text matches a grammar. An incomplete text is a prefix of a valid one."""

    status: Literal["valid", "incomplete", "invalid"]
    message: str = ""


class GrammarSupport(NamedTuple):
    """How much of a format an engine's decoding enforces."""

    enforcement: Literal["whole", "partial", "none"]
    reason: str = ""
    """why it is not enforced as a whole"""
    lenient: bool = False
    """the format is enforced in part, and only with guidance's option `lenient`"""


class CheckResult(NamedTuple):
    """The result of checking a message against its constraint."""

    kind: ConstraintKind
    fault: Fault | None = None
    changes: Mapping[str, Any] = {}
    """fields of the message that were repaired"""
    finish_reason: str | None = None
    """the finish_reason that the choice should have, if it differs; `length`: the answer is truncated"""


_SUPPORT = msgspec.json.Decoder(GrammarSupport)
_MATCH = msgspec.json.Decoder(Match)
_RESULT = msgspec.json.Decoder(CheckResult)
_FAULT: msgspec.json.Decoder[Fault | None] = msgspec.json.Decoder(Fault | None)
_TEXT: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)


class WorkLimitExceeded(Exception):
    """The work was stopped, because it exceeded its limit of time or memory."""


class GrammarWorkers:
    """A pool of at most `processes` worker processes. Each request may take `limit_s` seconds.

    Every method raises WorkLimitExceeded, except `grammar_support`: if that takes too long, the format counts as not
    enforced.
    """

    def __init__(self, *, limit_s: float = 2.0, processes: int = 2) -> None:
        self._limit_s = limit_s
        self._slots = asyncio.Semaphore(processes)
        self._idle: list[_Worker] = []
        self._started: list[_Worker] = []
        self._cache = _SupportCache(_MAX_CACHED_CHARS)
        self._in_progress: dict[tuple[str, str, str], asyncio.Task[GrammarSupport]] = {}
        self._closed = False

    async def grammar_support(self, backend: Backend, kind: FormatKind, source: str) -> GrammarSupport:
        """Return how much of a format an engine with that backend enforces. The result is cached.

        `source` is the text of the schema, the regex or the grammar, or the JSON of the choices or the structural tag.
        """
        key = (backend, kind, source)
        if cached := self._cache.get(key):
            return cached
        if (task := self._in_progress.get(key)) is None:
            task = self._in_progress[key] = asyncio.create_task(self._query_support(key))
            task.add_done_callback(lambda _: self._in_progress.pop(key))
        return await asyncio.shield(task)

    async def match(self, kind: FormatKind, source: str, text: str) -> Match:
        """Match a whole text against a regex, a grammar or a structural tag."""
        try:
            text.encode()
        except UnicodeEncodeError:
            return Match("invalid", "it contains half of a surrogate pair, which UTF-8 cannot encode")
        return _MATCH.decode(await self._request("match", kind, source, text))

    async def grammar_fault(self, kind: FormatKind, source: str) -> str | None:
        """Return why a regex, a grammar or a structural tag cannot be used, or None if it can."""
        return _TEXT.decode(await self._request("grammar_fault", kind, source))

    async def schema_fault(self, text: str) -> Fault | None:
        """Return where and why a schema cannot be used, or None if it can."""
        return _FAULT.decode(await self._request("schema_fault", text))

    async def instance_fault(self, text: str, instance: str) -> Fault | None:
        """Return where and why the JSON text `instance` breaks the schema `text`, or None if it is valid."""
        return _FAULT.decode(await self._request("instance_fault", text, instance))

    async def check_message(self, constraint: Constraint, message: Mapping[str, Any], *, at_limit: bool) -> CheckResult:
        """Check a long message; see `check.check_message`."""
        return _RESULT.decode(await self._request("check_message", constraint, message, at_limit))

    async def close(self) -> None:
        """Kill all processes. Pending requests raise WorkLimitExceeded."""
        self._closed = True
        await asyncio.gather(*(worker.kill() for worker in self._started), *self._in_progress.values())

    async def _query_support(self, key: tuple[Backend, FormatKind, str]) -> GrammarSupport:
        try:
            support = _SUPPORT.decode(await self._request("grammar_support", *key))
        except WorkLimitExceeded as error:
            support = GrammarSupport("none", str(error))
        self._cache.add(key, support)
        return support

    async def _request(self, *request: object) -> bytes:
        """Send a request to a worker. If the process ends within the time limit, it is replaced once."""
        written = msgspec.json.encode(request, enc_hook=_omit_validator)
        async with self._slots:
            for _ in range(2):
                try:
                    worker = self._idle.pop() if self._idle else await self._start()
                    reply = await worker.request(written, self._limit_s + GRACE_S)
                except (OSError, EOFError):
                    continue
                self._idle.append(worker)
                return reply
        raise WorkLimitExceeded(_LIMIT_EXCEEDED)

    async def _start(self) -> _Worker:
        worker = await _Worker.start(self._limit_s)
        self._started = [*filter(_Worker.is_running, self._started), worker]
        if self._closed:
            await worker.kill()
            raise WorkLimitExceeded("the gateway is shutting down")
        return worker


def _omit_validator(_validator: object) -> None:
    """Encode a compiled schema as null. The worker compiles the schema's text again."""


class _Worker:
    """One worker process, seen from the gateway."""

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
                env={name: value for name, value in os.environ.items() if name in _PASSED_ENV},
                start_new_session=True,  # Ctrl-C must reach only the gateway, which then ends this process
            )
        )

    async def request(self, request: bytes, timeout_s: float) -> bytes:
        """Return the reply to a request. On every exception, cancellation included, the process is killed.

        Raises:
            WorkLimitExceeded: the request exceeded its time limit.
            EOFError, OSError: the process ended before its time limit.
        """
        reply = None
        try:
            async with asyncio.timeout(timeout_s):
                self._stdin.write(len(request).to_bytes(4) + request)
                await self._stdin.drain()
                reply = await self._stdout.readexactly(int.from_bytes(await self._stdout.readexactly(4)))
                return reply
        except TimeoutError:
            raise WorkLimitExceeded(_LIMIT_EXCEEDED) from None
        except (OSError, EOFError):
            if await self.kill() == -signal.SIGALRM:
                raise WorkLimitExceeded(_LIMIT_EXCEEDED) from None
            raise
        finally:
            if reply is None:
                self._send_kill()

    def is_running(self) -> bool:
        return self._process.returncode is None

    async def kill(self) -> int:
        """Kill the process if it still runs; return its exit status."""
        self._send_kill()
        return await self._process.wait()

    def _send_kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()


class _SupportCache:
    """The most recently used results. The number of characters of their keys is bounded."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._chars = 0
        self._results: OrderedDict[tuple[str, str, str], GrammarSupport] = OrderedDict()

    def get(self, key: tuple[str, str, str]) -> GrammarSupport | None:
        if key in self._results:
            self._results.move_to_end(key)
        return self._results.get(key)

    def add(self, key: tuple[str, str, str], support: GrammarSupport) -> None:
        self._results[key] = support
        self._chars += _entry_chars(key)
        while self._chars > self._max_chars:
            oldest, _ = self._results.popitem(last=False)
            self._chars -= _entry_chars(oldest)


def _entry_chars(key: tuple[str, str, str]) -> int:
    return len(key[-1]) + 500  # 500 for the entry itself
