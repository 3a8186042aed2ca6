"""The types of structured output: what an answer must satisfy.

A request asks for a format of the answer's text, for tool calls, or for both. With both, an answer is either one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import jsonschema_rs

from router.structured.closed_schema import close_schema
from router.types import Backend, ConstraintKind, Enforcement, FormatKind

SchemaChange = Literal["", "described", "rewritten"]
"""how a client's schema is changed: not, its formats are described in words, or it is read from another dialect"""


@dataclass(frozen=True, eq=False)
class Schema:
    """A JSON schema that is known to be valid.

    `validator` is None for a heavy schema. Compiling or applying a heavy schema could block the event loop, so a
    grammar worker does it.
    """

    text: str
    """canonical JSON; the schema's key in caches and in other processes"""
    value: Mapping[str, Any]
    validator: jsonschema_rs.Validator | None = field(default=None, repr=False)
    change: SchemaChange = ""
    """how it differs from what the client wrote"""

    @cached_property
    def closed(self) -> Mapping[str, Any]:
        """The schema for decoding. It allows only the keys that the schema names, where that is possible."""
        return close_schema(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class OutputFormat:
    """The format that the whole text of an answer must have. Each kind uses one of `schema`, `source`, `choices`."""

    kind: FormatKind
    param: str
    """the request field that asks for it, for error messages"""
    schema: Schema | None = None
    """for json_schema"""
    source: str = ""
    """for regex and grammar: the text; for structural_tag: its JSON"""
    choices: tuple[str, ...] = ()
    """for choice"""
    about: Mapping[str, Any] = field(default_factory=dict)
    """for json_schema: its name, and what else `response_format` says about it"""
    is_openai: bool = False
    """whether the client's `response_format` can be forwarded as it is"""


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """A function that may be called. If `parameters` is None, its arguments may be any JSON object."""

    name: str
    parameters: Schema | None = None
    strict: bool = False
    is_checked: bool = True
    """if False, its schema cannot be used, so its arguments may be any object"""


@dataclass(frozen=True, slots=True, eq=False)
class CallConstraint:
    """What the tool calls of an answer must satisfy."""

    tools: Mapping[str, Tool]
    """the functions that may be called, by name"""
    required: bool = False
    """an answer must contain a call"""
    single: bool = False
    """at most one call"""
    legacy: bool = False
    """requested by `functions`: the call is returned as `function_call`"""


@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """Everything that a request asks of its answer. At least one of the first two fields is set."""

    output_format: OutputFormat | None = None
    calls: CallConstraint | None = None
    enforced: dict[Backend, Enforcement] = field(default_factory=dict, repr=False)
    """cache: how much of it each backend's decoding enforces"""
    replaced: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """fields of the request with a schema in another form than the client wrote, in that form"""
    adapted: tuple[str, ...] = ()
    """what was changed in the request, for the header `x-smallfirst-adapted`"""

    @property
    def kind(self) -> ConstraintKind:
        """The word for metrics and messages: the kind of the format, or `tools` if there is none."""
        return self.output_format.kind if self.output_format else "tools"
