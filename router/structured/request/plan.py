"""What a call asks of its answer: a constraint, or a 400 before any upstream is called."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from weakref import WeakValueDictionary

from router.errors import BadRequest
from router.structured.constraint import Calls, Constraint, OutputFormat, Tool
from router.structured.request.output_format import FORMAT_FIELDS, RequestedFormat, requested_format
from router.structured.request.schema import MAX_SCHEMA_CHARS, compile_schema
from router.structured.request.tools import CALL_FIELDS, RequestedTools, requested_tools
from router.structured.request.validation import limit
from router.structured.workers.grammar_workers import GrammarWorkers, TookTooLong
from router.types import ChatCall

MAX_FIELD_BYTES = 1024 * 1024
"""of one field as the client wrote it, white space and all"""
MAX_TOOLS_CHARS = 4 * MAX_SCHEMA_CHARS
"""all schemas of a request's tools together"""
KEPT_BYTES = 1024 * 1024
"""of the fields whose constraints are kept; compiled, a schema takes thirty times its text"""
_ENTRY_BYTES = _PATTERN_BYTES = 4096
"""what an entry, and a regular expression in it, count beside their text"""

_DEMANDS = frozenset({*FORMAT_FIELDS, "tools", "functions", "function_call", "tool_choice"})
_CHAT_FIELDS = (*FORMAT_FIELDS, *CALL_FIELDS)

Key = tuple[tuple[str, bytes], ...]
"""the fields that a constraint was read from, as the client wrote them"""


class Planner:
    """Calls -> constraints; the same fields, in the same bytes, are planned once."""

    def __init__(self, workers: GrammarWorkers) -> None:
        self._workers = workers
        self._kept = _Kept(KEPT_BYTES)
        self._turn = asyncio.Lock()
        """of those that compile"""
        self._underway: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def plan(self, call: ChatCall) -> Constraint | None:
        """Return what a call asks of its answer; None: nothing.

        Raises:
            BadRequest: what it asks is unknown, contradicts itself, is no valid schema, regular expression, grammar or
                structural tag, or is too large or too costly to check.
        """
        fields = call.fields
        if _DEMANDS.isdisjoint(fields) or not call.endpoint.returns_choices:
            return None
        names = _CHAT_FIELDS if call.endpoint.takes_tools else FORMAT_FIELDS
        key = tuple([(name, bytes(fields[name])) for name in names if name in fields])
        if kept := self._kept.get(key):
            return kept
        for name, written in key:
            limit(len(written), "bytes", MAX_FIELD_BYTES, name)
        async with self._underway.setdefault(key, asyncio.Lock()):
            if kept := self._kept.get(key):
                return kept
            constraint = await self._compose(call)
            self._kept.put(key, constraint)
            return constraint

    async def _compose(self, call: ChatCall) -> Constraint | None:
        output_format = requested_format(call.body)
        calls = requested_tools(call.body) if call.endpoint.takes_tools else None
        if calls and calls.required:
            output_format = None
        if not (output_format or calls):
            return None
        return Constraint(
            await self._compile_format(output_format) if output_format else None,
            await self._calls(calls) if calls else None,
        )

    async def _compile_format(self, asked: RequestedFormat) -> OutputFormat:
        if asked.kind == "json_schema":
            schema = await compile_schema(asked.schema, asked.param, self._workers, self._turn)
            return OutputFormat(asked.kind, asked.param, schema=schema)
        if asked.source:
            try:
                fault = await self._workers.grammar_fault(asked.kind, asked.source)
            except TookTooLong:
                fault = "it is too complex: it could not be compiled in time"
            if fault:
                raise BadRequest(f"Invalid {asked.kind} in '{asked.param}': {fault[:300]}", param=asked.param)
        return OutputFormat(asked.kind, asked.param, source=asked.source, choices=asked.choices)

    async def _calls(self, asked: RequestedTools) -> Calls:
        tools: dict[str, Tool] = {}
        chars = 0
        for tool in asked.tools:
            schema = None
            if tool.parameters is not None:
                schema = await compile_schema(tool.parameters, tool.param, self._workers, self._turn)
                chars += len(schema.text)
                limit(chars, "characters", MAX_TOOLS_CHARS, "functions" if asked.legacy else "tools")
            tools[tool.name] = Tool(tool.name, schema, tool.strict)
        return Calls(tools, asked.required, asked.single, asked.legacy)


class _Kept:
    """The constraints that were of use last, within a number of bytes of their keys."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._constraints: OrderedDict[Key, Constraint] = OrderedDict()

    def get(self, key: Key) -> Constraint | None:
        constraint = self._constraints.get(key)
        if constraint:
            self._constraints.move_to_end(key)
        return constraint

    def put(self, key: Key, constraint: Constraint | None) -> None:
        if constraint is None:
            return
        self._constraints[key] = constraint
        self._left -= _cost(key)
        while self._left < 0:
            oldest, _ = self._constraints.popitem(last=False)
            self._left += _cost(oldest)


def _cost(key: Key) -> int:
    return _ENTRY_BYTES + sum(len(written) + _PATTERN_BYTES * written.count(b"pattern") for _, written in key)
