"""What an answer must satisfy: the nouns of structured output.

A request asks for a format of the answer's text, for tool calls, or for both. With both, an answer is either one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jsonschema_rs

from router.structured.closed_schema import closed
from router.types import Backend, ConstraintKind, Enforcement, FormatKind


@dataclass(frozen=True, eq=False)
class Schema:
    """A JSON schema that was found valid.

    `validator` is None for a heavy one: compiling or applying it could hold the event loop, so that is done elsewhere.
    """

    text: str
    """canonical JSON; what names it in caches and in other processes"""
    value: Mapping[str, Any]
    validator: jsonschema_rs.Validator | None = field(default=None, repr=False)

    @cached_property
    def closed(self) -> Mapping[str, Any]:
        """Return what is to be decoded: no keys but those that the schema names, where that is possible."""
        return closed(self.value)


@dataclass(frozen=True, slots=True, eq=False)
class OutputFormat:
    """What the whole text of an answer must be. Of `schema` and `source`, each kind has its own."""

    kind: FormatKind
    param: str
    """the request's field that asks for it, for errors"""
    schema: Schema | None = None
    """json_schema"""
    source: str = ""
    """regex, grammar: the text; structural_tag: its JSON"""
    choices: tuple[str, ...] = ()
    """choice"""


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """A function that may be called. `parameters` None: whatever JSON object."""

    name: str
    parameters: Schema | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Calls:
    """What the calls of an answer must be."""

    tools: Mapping[str, Tool]
    """those that may be called, by name"""
    required: bool = False
    """an answer without a call is none"""
    single: bool = False
    """at most one call"""
    legacy: bool = False
    """asked for by `functions`: the call comes as `function_call`"""


@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """All that a request asks of its answer; at least one of the two."""

    output_format: OutputFormat | None = None
    calls: Calls | None = None
    enforced: dict[Backend, Enforcement] = field(default_factory=dict, repr=False)
    """cache: how much of it each backend's decoding enforces"""

    @property
    def kind(self) -> ConstraintKind:
        """The word for metrics and messages: the kind of the format, or `tools` if there is none."""
        return self.output_format.kind if self.output_format else "tools"
