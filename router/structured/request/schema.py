"""Compiles a client's JSON schema, so that answers can be checked against it, or says in a 400 where it is wrong.

The draft is the one that `$schema` names, by default 2020-12; `schema_dialects` reads others. `format` is checked.
References must stay inside the document (or point to a draft's own metaschema): nothing is ever fetched.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
import msgspec

from router.errors import BadRequest
from router.structured.complexity import evaluations, iter_patterns, iter_references, resolve_pointer
from router.structured.constraint import Schema
from router.structured.request.schema_dialects import NO_CHANGE, may_be_dialect, read_dialect
from router.structured.request.schema_weight import is_light
from router.structured.workers.grammar_workers import Fault, GrammarWorkers, WorkLimitExceeded

MAX_SCHEMA_CHARS = 128 * 1024
MAX_EVALUATIONS = 100_000
"""how often one value of an answer may be checked; real schemas stay below 1,000"""

MAX_PATTERNS = 100
"""real schemas have up to 18; each may compile to a megabyte"""

# a match that backtracks more often than this from one position of a string makes the answer invalid
_PATTERN_OPTIONS = jsonschema_rs.FancyRegexOptions(backtrack_limit=1_000_000, size_limit=2**20, dfa_size_limit=2**20)
_QUOTED = re.compile(r"'([^']*)'")


async def compile_schema(value: object, param: str, workers: GrammarWorkers, lock: asyncio.Lock) -> Schema:
    """Compile the schema of the request field `param`. A grammar worker checks that a heavy schema compiles.

    Schemas that share a `lock` are compiled one by one. Other tasks run in between.

    Raises:
        BadRequest: the schema is invalid, refers to another document, or is too large or too costly.
    """
    async with lock:
        await asyncio.sleep(0)
        try:
            schema = _read(value)
        except _Invalid as error:
            raise _bad_request(param, error.fault) from None
    if schema.validator:
        return schema
    try:
        fault = await workers.schema_fault(schema.text)
    except WorkLimitExceeded:
        fault = Fault("", "it is too complex: it could not be compiled in time")
    if fault:
        raise _bad_request(param, fault)
    return schema


def schema_fault(text: str) -> Fault | None:
    """Return where and why a schema cannot be used, or None if it can. A heavy schema may take seconds."""
    schema = json.loads(text)
    count = sum(1 for _ in iter_patterns(schema))
    if count > MAX_PATTERNS:
        return Fault("", f"it has {count} patterns, at most {MAX_PATTERNS} are allowed")
    try:
        _compile(text)
    except _Invalid as error:
        return error.fault
    if evaluations(schema, MAX_EVALUATIONS) > MAX_EVALUATIONS:
        many = f"one value could be checked more than {MAX_EVALUATIONS} times"
        return Fault("", f"it is too complex: through its references, {many}")
    return None


def compile_options() -> dict[str, Any]:
    """Return the options with which every schema is compiled."""
    return {"validate_formats": True, "offline": True, "pattern_options": _PATTERN_OPTIONS}


def json_pointer(path: list[str | int]) -> str:
    """Return a path as a JSON Pointer of at most 300 characters."""
    text = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return text if len(text) <= 300 else text[:299] + "…"


class _Invalid(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def _read(value: object) -> Schema:
    document: object = {} if value is True else value  # two ways to write the same schema
    if document is False:
        raise _Invalid(Fault("", "'false' allows no value at all"))
    if not isinstance(document, Mapping):
        raise _Invalid(Fault("", "it is neither an object nor 'true'"))
    text, change = _as_text(document), NO_CHANGE
    if may_be_dialect(text):
        document, change = read_dialect(document)
        text = _as_text(document) if change else text
    return Schema(text, document, _compile(text) if is_light(text, document) else None, change)


def _as_text(schema: Mapping[str, Any]) -> str:
    try:
        text = msgspec.json.encode(schema).decode()
    except (ValueError, RecursionError):
        raise _Invalid(Fault("", "it is nested too deeply, or contains half of a surrogate pair")) from None
    if len(text) > MAX_SCHEMA_CHARS:
        limit = f"{len(text)} characters, at most {MAX_SCHEMA_CHARS} are allowed"
        raise _Invalid(Fault("", f"it is too large: {limit}"))
    return text


def _compile(text: str) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(text, mask="the value", **compile_options())
    except jsonschema_rs.ValidationError as error:
        raise _Invalid(_explain(json.loads(text), error)) from None
    except ValueError as error:
        raise _Invalid(Fault("", f"it cannot be used: {_short(error)}")) from None


def _explain(schema: Any, error: jsonschema_rs.ValidationError) -> Fault:
    if error.kind.name == "$ref":
        return _explain_reference(schema, error)
    path = [*error.instance_path]
    value: Any = schema
    for part in path:
        value = value[part]
    shown = json.dumps(value, ensure_ascii=False) if not isinstance(value, (dict, list)) else "the value"
    if error.kind.name == "format":
        reason = f"{shown[:80]} is no regular expression, or compiles to one that is too large"
    elif path[-1:] == ["type"]:
        reason = f"{shown[:80]} is not a type of JSON Schema"
    else:
        reason = error.message.replace("the value", shown[:80], 1)
    return Fault(json_pointer(path), _short(reason))


def _explain_reference(schema: Any, error: jsonschema_rs.ValidationError) -> Fault:
    """Find the reference that is at fault: the library names its target, but not its position."""
    quoted = _QUOTED.search(error.message)
    named = quoted[1] if quoted else ""
    if "meta-schema" in error.message:
        return Fault("/$schema", f"{named[:80]!r} is an unknown draft")
    for path, target in iter_references(schema):
        if target.startswith("#") and resolve_pointer(schema, unquote(target)) is None and target.lstrip("#") == named:
            return Fault(json_pointer(path), f"the reference {target[:80]!r} points to nothing")
    for path, target in iter_references(schema):
        if named and named in target:
            outside = "points outside the document; references are never fetched"
            reason = outside if "Resource" in error.message else "cannot be resolved"
            return Fault(json_pointer(path), f"the reference {target[:80]!r} {reason}")
    return Fault("", f"it has a reference that cannot be resolved in the document: {_short(error.message)}")


def _short(reason: object) -> str:
    text = " ".join(str(reason).split())
    return text if len(text) <= 300 else text[:299] + "…"


def _bad_request(param: str, fault: Fault) -> BadRequest:
    where = f"at '{fault.path}': " if fault.path else ""
    return BadRequest(f"Invalid schema for '{param}': {where}{fault.message}.", param=param, code="invalid_value")
