"""Compiles what a request asks of its answer: the result is a constraint, or a 400 before any upstream is called."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from operator import is_not
from typing import Any
from weakref import WeakValueDictionary

from router.errors import BadRequest
from router.messages.adapted import name_changes
from router.structured.constraint import CallConstraint, Constraint, OutputFormat, Tool
from router.structured.request.output_format import FORMAT_FIELDS, RequestedFormat, requested_format
from router.structured.request.schema import MAX_SCHEMA_CHARS, compile_schema
from router.structured.request.tools import CALL_FIELDS, RequestedTools, requested_tools
from router.structured.request.validation import check_limit
from router.structured.workers.grammar_workers import GrammarWorkers, WorkLimitExceeded
from router.types import ChatCall

MAX_FIELD_BYTES = 1024 * 1024
"""of one field as the client wrote it, white space included"""
MAX_TOOLS_CHARS = 4 * MAX_SCHEMA_CHARS
"""of the schemas of all tools of a request; the tools after that are not checked"""
CACHE_BYTES = 1024 * 1024
"""of the fields whose constraints are cached; a compiled schema takes thirty times the memory of its text"""
_ENTRY_BYTES = _PATTERN_BYTES = 4096
"""what an entry, and a regular expression in it, count in addition to their text"""

_CONSTRAINING_FIELDS = frozenset({*FORMAT_FIELDS, "tools", "functions", "function_call", "tool_choice"})
_FORMAT_FIELDS = frozenset(FORMAT_FIELDS)
_CHAT_FIELDS = _FORMAT_FIELDS.union(CALL_FIELDS)

Key = tuple[tuple[str, bytes], ...]
"""the fields that a constraint was read from, as the client wrote them"""


class ConstraintCompiler:
    """Compiles the constraints of requests. Equal fields (byte for byte) are compiled once."""

    def __init__(self, workers: GrammarWorkers) -> None:
        self._workers = workers
        self._cache = _ConstraintCache(CACHE_BYTES)
        self._schema_lock = asyncio.Lock()
        self._in_progress: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()

    async def compile(self, call: ChatCall) -> Constraint | None:
        """Return what a request asks of its answer, or None if it asks for no format and allows no calls.

        Raises:
            BadRequest: the request asks for something unknown or contradictory, for an invalid schema, regular
                expression, grammar or structural tag, or for one that is too large or too costly to check.
        """
        fields = call.fields
        if _CONSTRAINING_FIELDS.isdisjoint(fields) or not call.endpoint.returns_choices:
            return None
        names = _CHAT_FIELDS if call.endpoint.takes_tools else _FORMAT_FIELDS
        key = tuple([(name, bytes(fields[name])) for name in sorted(names.intersection(fields))])
        if cached := self._cache.get(key):
            return cached
        for name, written in key:
            check_limit(len(written), "bytes", MAX_FIELD_BYTES, name)
        async with self._in_progress.setdefault(key, asyncio.Lock()):
            if cached := self._cache.get(key):
                return cached
            constraint = await self._compile(call)
            self._cache.add(key, constraint)
            return constraint

    async def _compile(self, call: ChatCall) -> Constraint | None:
        asked_format = requested_format(call.body)
        asked_tools = requested_tools(call.body) if call.endpoint.takes_tools else None
        if asked_tools and asked_tools.required:
            asked_format = None
        if not (asked_format or asked_tools):
            return None
        output_format = await self._compile_format(asked_format) if asked_format else None
        calls = await self._compile_tools(asked_tools) if asked_tools else None
        replaced, changes = _replace_tools(call.body, calls, asked_tools) if calls and asked_tools else ({}, [])
        if output_format and output_format.schema and output_format.schema.change:
            field = output_format.param.partition(".")[0]
            changes = [f"{field}={output_format.schema.change}", *changes]
        return Constraint(output_format, calls, replaced=replaced, adapted=name_changes(changes))

    async def _compile_format(self, asked: RequestedFormat) -> OutputFormat:
        if asked.kind == "json_schema":
            schema = await compile_schema(asked.schema, asked.param, self._workers, self._schema_lock)
            return OutputFormat(
                asked.kind,
                asked.param,
                schema=schema,
                about=asked.about,
                is_openai=asked.is_openai and not schema.change,
            )
        if asked.source:
            try:
                fault = await self._workers.grammar_fault(asked.kind, asked.source)
            except WorkLimitExceeded:
                fault = "it is too complex: it could not be compiled in time"
            if fault:
                raise BadRequest(f"Invalid {asked.kind} in '{asked.param}': {fault[:300]}", param=asked.param)
        return OutputFormat(
            asked.kind, asked.param, source=asked.source, choices=asked.choices, is_openai=asked.is_openai
        )

    async def _compile_tools(self, asked: RequestedTools) -> CallConstraint:
        """Compile the tools' schemas. One that cannot be used does not stop the others: its calls are not checked."""
        tools: dict[str, Tool] = {}
        chars = 0
        for tool in asked.tools:
            schema, is_checked = None, True
            if tool.parameters is not None:
                with suppress(BadRequest):
                    if chars <= MAX_TOOLS_CHARS:
                        schema = await compile_schema(tool.parameters, tool.param, self._workers, self._schema_lock)
                        chars += len(schema.text)
                is_checked = schema is not None
            tools[tool.name] = Tool(tool.name, schema, tool.strict, is_checked)
        return CallConstraint(tools, asked.required, asked.single, asked.legacy)


def _replace_tools(
    body: Mapping[str, Any], calls: CallConstraint, asked: RequestedTools
) -> tuple[Mapping[str, Any], list[str]]:
    """Return the field of the tools with their schemas as they were read, if that differs, and what changed."""
    field = "functions" if asked.legacy else "tools"
    written, changes = list(body[field]), []
    for requested in asked.tools:
        tool, i = calls.tools[requested.name], requested.index
        if not tool.is_checked:
            changes.append(f"{field}.{i}=unchecked")
        elif tool.parameters and tool.parameters.change:
            changes.append(f"{field}.{i}={tool.parameters.change}")
            written[i] = _with_parameters(written[i], tool.parameters.value, legacy=asked.legacy)
    return ({field: written} if any(map(is_not, written, body[field])) else {}), changes


def _with_parameters(tool: Mapping[str, Any], parameters: Mapping[str, Any], *, legacy: bool) -> Mapping[str, Any]:
    if legacy:
        return {**tool, "parameters": parameters}
    return {**tool, "function": {**tool["function"], "parameters": parameters}}


class _ConstraintCache:
    """The most recently used constraints. The size of their keys in bytes is bounded."""

    def __init__(self, max_bytes: int) -> None:
        self._free_bytes = max_bytes
        self._constraints: OrderedDict[Key, Constraint] = OrderedDict()

    def get(self, key: Key) -> Constraint | None:
        constraint = self._constraints.get(key)
        if constraint:
            self._constraints.move_to_end(key)
        return constraint

    def add(self, key: Key, constraint: Constraint | None) -> None:
        if constraint is None:
            return
        self._constraints[key] = constraint
        self._free_bytes -= _entry_bytes(key)
        while self._free_bytes < 0:
            oldest, _ = self._constraints.popitem(last=False)
            self._free_bytes += _entry_bytes(oldest)


def _entry_bytes(key: Key) -> int:
    return _ENTRY_BYTES + sum(len(written) + _PATTERN_BYTES * written.count(b"pattern") for _, written in key)
