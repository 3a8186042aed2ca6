"""What an answer must satisfy: the nouns of structured output.

A request asks for a form of the answer's text, for tool calls, or for both: then an answer is either one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jsonschema_rs

from router.structured.closed_schema import closed
from router.types import Backend, ConstraintKind, Enforcement, FormKind


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
class Form:
    """What the whole text of an answer must be. Of `schema` and `source`, each kind has its own."""

    kind: FormKind
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

    form: Form | None = None
    calls: Calls | None = None
    holds: dict[Backend, Enforcement] = field(default_factory=dict, repr=False)
    """what each backend's decoding enforces of it, as far as that was asked"""

    @property
    def kind(self) -> ConstraintKind:
        """Return the word for metrics and messages: the form's kind, or `tools` without a form."""
        return self.form.kind if self.form else "tools"
