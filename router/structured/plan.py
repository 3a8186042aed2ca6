"""What a request's `response_format` asks for: a constraint, or a 400 before any upstream is called."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

from router import strictjson
from router.errors import BadRequest
from router.structured.complexity import evaluations, follow, patterns, references
from router.types import ChatCall, ConstraintKind

MAX_SCHEMA_CHARS = 128 * 1024
MAX_EVALUATIONS = 100_000
"""How often one place of an answer may be judged; real schemas stay below 1,000."""

MAX_PATTERNS = 100
"""Real schemas have up to 14; each may compile to a megabyte."""
HEAVY_CHARS, HEAVY_PATTERNS = 32 * 1024, 20
"""A schema beyond either is neither kept compiled nor taken apart to explain a fault."""

_SCHEMA_PARAM = "response_format.json_schema.schema"
# one regular expression may take this many steps back on one string (about 30 ms); then the answer is invalid
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=1_000_000, size_limit=2**20, dfa_size_limit=2**20)
_QUOTED = re.compile(r"'([^']*)'")


@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    """What a whole answer must satisfy; `schema` and `validator` belong to kind `json_schema`."""

    kind: ConstraintKind
    schema: Mapping[str, Any] | None = None
    validator: jsonschema_rs.Validator | None = field(default=None, repr=False)
    heavy: bool = False


def plan(call: ChatCall) -> Constraint | None:
    """Return what a call asks for; see `plan_format`. The same format, in the same bytes, is planned once."""
    written = call.fields.get("response_format")
    if written is None:
        return None
    key = bytes(written)
    if len(key) > HEAVY_CHARS:  # whatever makes it so long would be kept, too
        return plan_format(call.body["response_format"])
    try:
        return _kept(key)
    except _NotKept as heavy:
        return heavy.constraint


class _NotKept(Exception):
    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint


@lru_cache(maxsize=64)  # a usual one takes tens of kilobytes; what raises is not kept
def _kept(written: bytes) -> Constraint | None:
    constraint = plan_format(strictjson.decode(written))
    if constraint is not None and constraint.heavy:
        raise _NotKept(constraint)
    return constraint


def plan_format(wanted: object) -> Constraint | None:
    """Return what a `response_format` asks for; None: free text.

    The draft is the schema's `$schema`, else 2020-12; `format` is checked. References stay inside of the
    document (and the drafts' own metaschemas): nothing is ever fetched.

    Raises:
        BadRequest: the format is unknown, or the schema is invalid, refers outside, or is too large or costly.
    """
    if wanted is None:
        return None
    asked: Mapping[str, Any] = wanted if isinstance(wanted, Mapping) else {}
    match asked.get("type"):
        case "text":
            return None
        case "json_object":
            return Constraint("json_object")
        case "json_schema":
            schema = _schema(asked.get("json_schema"))
            text = _as_text(schema)
            count = sum(1 for _ in patterns(schema))
            if count > MAX_PATTERNS:
                raise _invalid(f"has {count} patterns, at most {MAX_PATTERNS} are allowed")
            heavy = len(text) > HEAVY_CHARS or count > HEAVY_PATTERNS
            return Constraint("json_schema", schema, _compile(text), heavy)
        case _:
            raise BadRequest(
                "Invalid value for 'response_format.type': expected 'text', 'json_object' or 'json_schema'.",
                param="response_format.type",
            )


def compile_options() -> dict[str, Any]:
    """Return how every schema is compiled, wherever one is."""
    return {"validate_formats": True, "offline": True, "pattern_options": _PATTERNS}


def _schema(json_schema: object) -> Mapping[str, Any]:
    schema = json_schema.get("schema") if isinstance(json_schema, Mapping) else None
    if isinstance(schema, Mapping):
        return schema
    raise BadRequest(
        f"Missing required parameter: '{_SCHEMA_PARAM}', a JSON schema.",
        param=_SCHEMA_PARAM,
        code="missing_required_parameter",
    )


def _as_text(schema: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(schema, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (ValueError, RecursionError):
        raise _invalid("is nested too deep, or holds a number or half a character that JSON has not") from None
    if len(text) > MAX_SCHEMA_CHARS:
        raise _invalid(f"is too large: {len(text)} characters, at most {MAX_SCHEMA_CHARS} are allowed")
    return text


def _compile(text: str) -> jsonschema_rs.Validator:
    schema = json.loads(text)
    try:
        validator = jsonschema_rs.validator_for(text, mask="the value", **compile_options())
    except jsonschema_rs.ValidationError as error:
        raise _explain(schema, error) from None
    except ValueError as error:
        raise _invalid(f"cannot be used: {_short(error)}") from None
    if evaluations(schema, MAX_EVALUATIONS) > MAX_EVALUATIONS:
        raise _invalid(
            f"is too complex: through its references, one value could be judged more than {MAX_EVALUATIONS} times"
        )
    return validator


def _explain(schema: Any, error: jsonschema_rs.ValidationError) -> BadRequest:
    if error.kind.name == "$ref":
        return _reference(schema, error)
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
    return _invalid(f"is not a valid JSON schema: at '{pointer(path)}': {_short(reason)}")


def _reference(schema: Any, error: jsonschema_rs.ValidationError) -> BadRequest:
    """Say which reference is at fault: the library names its target, not its place."""
    quoted = _QUOTED.search(error.message)
    named = quoted[1] if quoted else ""
    if "meta-schema" in error.message:
        return _invalid(f"names an unknown draft: at '/$schema': {named[:80]!r}")
    for path, target in references(schema):
        if target.startswith("#") and follow(schema, unquote(target)) is None and target.lstrip("#") == named:
            return _invalid(f"has a reference to nothing: at '{pointer(path)}': {target[:80]!r}")
    for path, target in references(schema):
        if named and named in target:
            outside = "points outside of the document; references are never fetched"
            reason = outside if "Resource" in error.message else "cannot be resolved"
            return _invalid(f"has a reference that {reason}: at '{pointer(path)}': {target[:80]!r}")
    return _invalid(f"has a reference that cannot be resolved in the document: {_short(error.message)}")


def pointer(path: list[str | int]) -> str:
    """Return a path as JSON Pointer, cut where a key of it is endless."""
    text = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return text if len(text) <= 300 else text[:299] + "…"


def _short(reason: object) -> str:
    text = " ".join(str(reason).split())
    return text if len(text) <= 300 else text[:299] + "…"


def _invalid(reason: str) -> BadRequest:
    return BadRequest(f"Invalid schema for '{_SCHEMA_PARAM}': it {reason}.", param=_SCHEMA_PARAM, code="invalid_value")
