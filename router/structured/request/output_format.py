"""What a request asks of its answer, read from its fields; nothing is compiled yet.

Where fields contradict each other, one rule each:

- Two formats (two of `response_format`, `structured_outputs` and the `guided_*`; or two kinds within
  `structured_outputs`): 400 that names both. `response_format: {"type": "text"}` is no format.
- A format and tools: both hold. An answer is either calls or the form.
- A format and a call that must come (`tool_choice` "required", a function by name, `allowed_tools` in mode
  "required"; `function_call` by name): every answer is calls, the format does not apply.
- `tool_choice` "none": no calls. One by name, `allowed_tools`: calls of those only; no other's schema is compiled.
- `tools` and `functions`: 400. `functions` allow one call at most.
- `structural_tag` in its newer form (`format`): 400, as answers could not be checked against it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.errors import BadRequest
from router.messages import strict_json
from router.structured.request.validation import a_text, an_object, conflict, entries, expected, limit, missing
from router.types import FormatKind

MAX_REGEX_CHARS = 4 * 1024
MAX_GRAMMAR_CHARS = 64 * 1024
MAX_CHOICES, MAX_CHOICES_CHARS = 10_000, 128 * 1024
MAX_TAG_CHARS, MAX_STRUCTURES = 128 * 1024, 100

_GUIDED: Mapping[str, str] = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
}
_KINDS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
FORMAT_FIELDS = ("response_format", "structured_outputs", *_GUIDED)


@dataclass(frozen=True, slots=True, eq=False)
class RequestedFormat:
    """A form of the answer's text. Of `schema`, `source` and `choices`, each kind has its own."""

    kind: FormatKind
    param: str
    """the request's field that holds it"""
    schema: object = None
    source: str = ""
    choices: tuple[str, ...] = ()


def format_fields(body: Mapping[str, Any]) -> list[str]:
    """Return which fields ask for a form of the text; more than one is an error."""
    return [name for name in FORMAT_FIELDS if body.get(name) is not None and not _is_text(body[name])]


def requested_format(body: Mapping[str, Any]) -> RequestedFormat | None:
    """Return the form that a request asks its text to have; None: free text.

    Raises:
        BadRequest: two formats, an unknown one, or one that is not what its kind has to be.
    """
    fields = format_fields(body)
    if len(fields) > 1:
        raise conflict(fields[0], fields[1])
    if not fields:
        return None
    field, value = fields[0], body[fields[0]]
    if field == "response_format":
        return _of_response_format(an_object(value, field))
    if field == "structured_outputs":
        return _of_structured_outputs(an_object(value, field))
    return _of_kind(_GUIDED[field], value, field)


def _is_text(value: object) -> bool:
    return isinstance(value, Mapping) and value.get("type") == "text"


def _of_response_format(wanted: Mapping[str, Any]) -> RequestedFormat:
    match wanted.get("type"):
        case "json_object":
            return RequestedFormat("json_object", "response_format")
        case "json_schema":
            param = "response_format.json_schema.schema"
            holder = wanted.get("json_schema")
            schema = holder.get("schema") if isinstance(holder, Mapping) else None
            if schema is None:
                raise missing(param)
            return RequestedFormat("json_schema", param, schema=schema)
        case "structural_tag":
            return RequestedFormat("structural_tag", "response_format", source=_tag(wanted, "response_format"))
        case _:
            raise expected("response_format.type", "'text', 'json_object', 'json_schema' or 'structural_tag'")


def _of_structured_outputs(wanted: Mapping[str, Any]) -> RequestedFormat:
    kinds = [kind for kind in _KINDS if wanted.get(kind) is not None and wanted[kind] is not False]
    if len(kinds) > 1:
        raise conflict(*(f"structured_outputs.{kind}" for kind in kinds[:2]))
    if not kinds:
        raise expected("structured_outputs", f"one of {', '.join(map(repr, _KINDS))}")
    return _of_kind(kinds[0], wanted[kinds[0]], f"structured_outputs.{kinds[0]}")


def _of_kind(kind: str, value: object, param: str) -> RequestedFormat:
    match kind:
        case "json":
            return RequestedFormat(
                "json_schema", param, schema=_json(value, param) if isinstance(value, str) else value
            )
        case "regex":
            return RequestedFormat("regex", param, source=a_text(value, param, MAX_REGEX_CHARS))
        case "grammar":
            return RequestedFormat("grammar", param, source=a_text(value, param, MAX_GRAMMAR_CHARS))
        case "choice":
            return RequestedFormat("choice", param, choices=_choices(value, param))
        case "json_object":
            if value is not True:
                raise expected(param, "'true'")
            return RequestedFormat("json_object", param)
        case _:
            tag = _json(value, param) if isinstance(value, str) else value
            return RequestedFormat("structural_tag", param, source=_tag(an_object(tag, param), param))


def _json(text: str, param: str) -> object:
    try:
        return strict_json.decode(text.encode())
    except (strict_json.NotJson, UnicodeEncodeError) as error:
        raise expected(param, f"JSON: {error}") from None


def _choices(value: object, param: str) -> tuple[str, ...]:
    choices = entries(value, param, MAX_CHOICES)
    if not all(isinstance(choice, str) and choice for choice in choices):
        raise expected(param, "an array of strings, none of them empty")
    limit(sum(map(len, choices)), "characters", MAX_CHOICES_CHARS, param)
    if len(set(choices)) < len(choices):
        raise expected(param, "every choice to be there once")
    return tuple(choices)


def _tag(wanted: Mapping[str, Any], param: str) -> str:
    """Return the JSON of a structural tag: its `structures` and the `triggers` that begin them."""
    if wanted.get("format") is not None:
        raise BadRequest(
            f"'{param}.format' is not supported: answers could not be checked against it; "
            "expected 'structures' and 'triggers'.",
            param=f"{param}.format",
            code="unsupported_value",
        )
    triggers = entries(wanted.get("triggers"), f"{param}.triggers", MAX_STRUCTURES)
    texts = [a_text(trigger, f"{param}.triggers[{i}]", MAX_TAG_CHARS) for i, trigger in enumerate(triggers)]
    structures = entries(wanted.get("structures"), f"{param}.structures", MAX_STRUCTURES)
    tag = {
        "structures": [_structure(one, tuple(texts), f"{param}.structures[{i}]") for i, one in enumerate(structures)],
        "triggers": texts,
    }
    source = json.dumps(tag, ensure_ascii=False, separators=(",", ":"))
    limit(len(source), "characters", MAX_TAG_CHARS, param)
    return source


def _structure(value: object, triggers: tuple[str, ...], at: str) -> dict[str, Any]:
    structure = an_object(value, at)
    begin, end = structure.get("begin"), structure.get("end")
    if not isinstance(begin, str) or not begin.startswith(triggers):
        raise expected(f"{at}.begin", "a string that starts with one of the triggers")
    if not isinstance(end, str):
        raise expected(f"{at}.end", "a string")
    schema = structure.get("schema")
    return {"begin": begin, "schema": {} if schema is None else an_object(schema, f"{at}.schema"), "end": end}
