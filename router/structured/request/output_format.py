"""The output format that a request asks for, read from its fields. Nothing is compiled yet.

Rules for fields that contradict each other:

- Two formats (two of FORMAT_FIELDS, or two kinds within `structured_outputs`): 400 that names both.
  `response_format: {"type": "text"}` asks for no format.
- A format and tools: both apply. An answer is either tool calls or text in the format.
- A format and a required call (`tool_choice` is "required" or a function name, `allowed_tools` has mode "required",
  or `function_call` is a name): every answer is tool calls, and the format does not apply.
- `tool_choice` "none": no calls. A function name or `allowed_tools`: only calls of these functions, and only their
  schemas are compiled.
- `tools` and `functions` together: 400. `functions` allow at most one call.
- `structural_tag` in its newer version (`format`): 400, because answers cannot be checked against it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from router.errors import BadRequest
from router.messages import strict_json
from router.structured.request.spellings import KIND_BY_FIELD, MIME_FIELDS, OTHER_FIELDS, Kind, is_asked, read_field
from router.structured.request.validation import (
    check_limit,
    conflict,
    expected,
    require_entries,
    require_object,
    require_text,
)
from router.types import FormatKind

MAX_REGEX_CHARS = 4 * 1024
MAX_GRAMMAR_CHARS = 64 * 1024
MAX_CHOICES, MAX_CHOICES_CHARS = 10_000, 128 * 1024
MAX_TAG_CHARS, MAX_STRUCTURES = 128 * 1024, 100

_KINDS: tuple[Kind, ...] = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
FORMAT_FIELDS = ("response_format", "structured_outputs", *KIND_BY_FIELD, *OTHER_FIELDS)
_FORMAT_FIELDS = frozenset(FORMAT_FIELDS)


@dataclass(frozen=True, slots=True, eq=False)
class RequestedFormat:
    """The requested format of the answer's text. Each kind uses one of `schema`, `source` and `choices`."""

    kind: FormatKind
    param: str
    """the request field that contains it"""
    schema: object = None
    source: str = ""
    choices: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    """of a schema: its name, and what else `response_format` says about it"""
    is_openai: bool = False
    """it is OpenAI's own spelling, which can be forwarded as it is"""


def format_fields(body: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields that ask for a format. More than one is an error."""
    found = sorted(_FORMAT_FIELDS.intersection(body), key=FORMAT_FIELDS.index)
    asked = [name for name in found if is_asked(name, body[name])]
    return asked if len(asked) < 2 else [name for name in asked if name not in MIME_FIELDS] or asked[:1]


def requested_format(body: Mapping[str, Any]) -> RequestedFormat | None:
    """Return the format that a request asks for, or None for free text.

    Raises:
        BadRequest: the request asks for two formats, for an unknown one, or for an invalid one.
    """
    fields = format_fields(body)
    if len(fields) > 1:
        raise conflict(fields[0], fields[1])
    if not fields:
        return None
    name, value = fields[0], body[fields[0]]
    if name == "structured_outputs":
        return _from_structured_outputs(require_object(value, name))
    spelled = read_field(name, value)
    return replace(
        _from_kind(spelled.kind, spelled.value, spelled.param), about=spelled.about, is_openai=spelled.is_openai
    )


def _from_structured_outputs(value: Mapping[str, Any]) -> RequestedFormat:
    kinds = [kind for kind in _KINDS if value.get(kind) is not None and value[kind] is not False]
    if len(kinds) > 1:
        raise conflict(*(f"structured_outputs.{kind}" for kind in kinds[:2]))
    if not kinds:
        raise expected("structured_outputs", f"one of {', '.join(map(repr, _KINDS))}")
    return _from_kind(kinds[0], value[kinds[0]], f"structured_outputs.{kinds[0]}")


def _from_kind(kind: Kind, value: object, param: str) -> RequestedFormat:
    match kind:
        case "json":
            return RequestedFormat(
                "json_schema", param, schema=_parse_json(value, param) if isinstance(value, str) else value
            )
        case "regex":
            return RequestedFormat("regex", param, source=require_text(value, param, MAX_REGEX_CHARS))
        case "grammar":
            return RequestedFormat("grammar", param, source=require_text(value, param, MAX_GRAMMAR_CHARS))
        case "choice":
            return RequestedFormat("choice", param, choices=_choices(value, param))
        case "json_object":
            if value is not True:
                raise expected(param, "'true'")
            return RequestedFormat("json_object", param)
        case _:
            tag = _parse_json(value, param) if isinstance(value, str) else value
            return RequestedFormat("structural_tag", param, source=_tag_source(require_object(tag, param), param))


def _parse_json(text: str, param: str) -> object:
    try:
        return strict_json.decode(text.encode())
    except (strict_json.NotJson, UnicodeEncodeError) as error:
        raise expected(param, f"JSON: {error}") from None


def _choices(value: object, param: str) -> tuple[str, ...]:
    choices = require_entries(value, param, MAX_CHOICES)
    if not all(isinstance(choice, str) and choice for choice in choices):
        raise expected(param, "an array of non-empty strings")
    check_limit(sum(map(len, choices)), "characters", MAX_CHOICES_CHARS, param)
    if len(set(choices)) < len(choices):
        raise expected(param, "each choice only once")
    return tuple(choices)


def _tag_source(value: Mapping[str, Any], param: str) -> str:
    """Return a structural tag as JSON: its `structures`, and the `triggers` that they begin with."""
    if value.get("format") is not None:
        raise BadRequest(
            f"'{param}.format' is not supported: answers cannot be checked against it; "
            "expected 'structures' and 'triggers'.",
            param=f"{param}.format",
            code="unsupported_value",
        )
    triggers = require_entries(value.get("triggers"), f"{param}.triggers", MAX_STRUCTURES)
    texts = [require_text(trigger, f"{param}.triggers[{i}]", MAX_TAG_CHARS) for i, trigger in enumerate(triggers)]
    structures = require_entries(value.get("structures"), f"{param}.structures", MAX_STRUCTURES)
    tag = {
        "structures": [_structure(one, tuple(texts), f"{param}.structures[{i}]") for i, one in enumerate(structures)],
        "triggers": texts,
    }
    source = json.dumps(tag, ensure_ascii=False, separators=(",", ":"))
    check_limit(len(source), "characters", MAX_TAG_CHARS, param)
    return source


def _structure(value: object, triggers: tuple[str, ...], param: str) -> dict[str, Any]:
    structure = require_object(value, param)
    begin, end = structure.get("begin"), structure.get("end")
    if not isinstance(begin, str) or not begin.startswith(triggers):
        raise expected(f"{param}.begin", "a string that starts with one of the triggers")
    if not isinstance(end, str):
        raise expected(f"{param}.end", "a string")
    schema = structure.get("schema")
    return {"begin": begin, "schema": {} if schema is None else require_object(schema, f"{param}.schema"), "end": end}
