"""Does a JSON value satisfy its schema, and where not?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from router.structured.answer.locate import locate
from router.structured.constraint import Schema
from router.structured.request.schema import compile_options, pointer
from router.structured.workers.grammar_workers import Fault, GrammarWorkers, TookTooLong

MAX_MESSAGE = 300
QUICK_CHARS = 2_000
"""of schema and answer together: an explanation of these takes a few milliseconds at most"""


async def instance_fault(schema: Schema, text: str, value: Any, workers: GrammarWorkers) -> Fault | None:
    """Return where and why a value breaks the schema; None: it satisfies it. `text` is the value as JSON.

    Whether it does is a quick question for a light schema. Where and why is not: of larger ones the workshop tells.
    """
    light = schema.validator
    try:
        if light and light.is_valid(value):
            return None
        if light and len(schema.text) + len(text) <= QUICK_CHARS:
            return fault_of(schema.value, light, value)
        fault = await workers.instance_fault(schema.text, text)
    except TookTooLong:
        return Fault("", "the value does not satisfy the schema" if light else "it cannot be judged in time")
    except ValueError as error:  # a limit of the validator: what it cannot judge is not served
        return Fault("", one_line(f"cannot be judged: {error}"))
    return Fault("", "the value does not satisfy the schema") if light and fault is None else fault


def fault_of(schema: Mapping[str, Any], validator: jsonschema_rs.Validator, value: Any) -> Fault | None:
    """Return where and why a value breaks its schema; None: it satisfies it. May take long."""
    try:
        if validator.is_valid(value):
            return None
        path, reason = locate(schema, value, compile_options())
    except ValueError as error:
        return Fault("", one_line(f"cannot be judged: {error}"))
    return Fault(pointer(path), one_line(reason))


def one_line(reason: str) -> str:
    """Return a message on one line, cut where it is endless."""
    text = " ".join(reason.split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
