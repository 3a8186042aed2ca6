"""Checks whether a JSON value satisfies its schema, and explains where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from router.structured.answer.locate import locate_fault
from router.structured.constraint import Schema
from router.structured.request.schema import compile_options, json_pointer
from router.structured.workers.grammar_workers import Fault, GrammarWorkers, WorkLimitExceeded

MAX_MESSAGE_CHARS = 300
MAX_EXPLAINED_CHARS = 2_000
"""of schema and answer together, for a fault to be located in this process: that takes a few milliseconds"""


async def instance_fault(schema: Schema, text: str, value: Any, workers: GrammarWorkers) -> Fault | None:
    """Return where and why a value breaks the schema, or None if it satisfies it. `text` is the value as JSON.

    With a light schema this process validates. To locate a fault takes longer: grammar workers do that for long values.
    """
    light = schema.validator
    try:
        if light and light.is_valid(value):
            return None
        if light and len(schema.text) + len(text) <= MAX_EXPLAINED_CHARS:
            return find_fault(schema.value, light, value)
        fault = await workers.instance_fault(schema.text, text)
    except WorkLimitExceeded:
        return Fault("", "the value does not satisfy the schema" if light else "it could not be checked in time")
    except ValueError as error:  # a limit of the validator: a value that it cannot check counts as invalid
        return Fault("", one_line(f"cannot be checked: {error}"))
    return Fault("", "the value does not satisfy the schema") if light and fault is None else fault


def find_fault(schema: Mapping[str, Any], validator: jsonschema_rs.Validator, value: Any) -> Fault | None:
    """Return where and why a value breaks its schema, or None if it satisfies it. This may take long."""
    try:
        if validator.is_valid(value):
            return None
        path, reason = locate_fault(schema, value, compile_options())
    except ValueError as error:
        return Fault("", one_line(f"cannot be checked: {error}"))
    return Fault(json_pointer(path), one_line(reason))


def one_line(reason: str) -> str:
    """Return a message on one line, truncated to MAX_MESSAGE_CHARS."""
    text = " ".join(reason.split())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"
