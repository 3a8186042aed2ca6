"""How other servers and APIs spell an output format: each spelling is read as one of vLLM's kinds. Pure.

A spelling that is not read would be a schema that nobody enforces: the model answers in free text, with status 200.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from router.errors import BadRequest
from router.structured.request.validation import expected, missing, require_object

Kind = Literal["json", "regex", "choice", "grammar", "json_object", "structural_tag"]

KIND_BY_FIELD: Mapping[str, Kind] = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "guided_json_object": "json_object",  # vLLM, until 0.11
    "regex": "regex",  # SGLang
    "ebnf": "grammar",  # SGLang
    "response_schema": "json",  # Gemini
    "response_json_schema": "json",
    "responseSchema": "json",
    "responseJsonSchema": "json",
    "output_schema": "json",
    "schema": "json",
    "guided_decoding_regex": "regex",
    "json_mode": "json_object",
    "response_mime_type": "json_object",  # Gemini; beside a schema it says nothing more
    "responseMimeType": "json_object",
}
MIME_FIELDS = frozenset({"response_mime_type", "responseMimeType"})
_WRAPPERS = ("extra_body", "generation_config", "generationConfig", "guided_decoding", "structural_tag", "options",
             "sampling_params")  # fmt: skip
"""fields that only SDKs, or engines' own interfaces, know"""
OTHER_FIELDS = ("json_schema", "grammar", "format", "output_format", "text", "output_config", *_WRAPPERS)
"""llama.cpp and SGLang; llama.cpp and TGI; Ollama; Anthropic; the Responses API; Anthropic"""

_SCHEMA_WORDS = frozenset({"$defs", "$ref", "allOf", "anyOf", "const", "enum", "items", "oneOf", "properties", "type"})
_SCHEMA_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_TYPES = "'text', 'json_object', 'json_schema' or 'structural_tag'"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ABOUT = ("name", "description", "strict")
_UNNAMED: Mapping[str, Any] = {"name": "answer"}


class Spelling(NamedTuple):
    """A format as it was spelled, not yet validated."""

    kind: Kind
    value: object
    param: str
    """the request field that contains `value`"""
    about: Mapping[str, Any] = _UNNAMED
    """of a schema: its name, and what else `response_format` says about it"""
    is_openai: bool = False
    """it is OpenAI's own spelling, which can be forwarded as it is"""


def is_asked(name: str, value: object) -> bool:
    """Return whether a request field with this value asks for a format at all."""
    if value is None or (isinstance(value, dict) and value.get("type") == "text"):
        return _has_schema(value)
    match name:
        case "guided_json_object" | "json_mode":
            return value is not False
        case "response_mime_type" | "responseMimeType":
            return value == "application/json"
        case "text" | "output_config":
            return isinstance(value, dict) and is_asked("format", value.get("format"))
        case "extra_body" | "generation_config" | "generationConfig" | "options" | "sampling_params":
            return isinstance(value, dict) and bool(fields_within(value))
        case _:
            return True


def fields_within(value: Mapping[str, Any]) -> list[str]:
    """Return the names of the format fields in the object that SDKs merge into a request."""
    names = ("response_format", "structured_outputs", *KIND_BY_FIELD, *OTHER_FIELDS[: -len(_WRAPPERS)])
    return [name for name in names if name in value and is_asked(name, value[name])]


def read_field(name: str, value: object) -> Spelling:
    """Read a request field that asks for a format; `structured_outputs` is read elsewhere.

    Raises:
        BadRequest: the field says nothing that is known.
    """
    if name in MIME_FIELDS:
        return Spelling("json_object", True, name)
    if name in KIND_BY_FIELD:
        return Spelling(KIND_BY_FIELD[name], value, name)
    match name:
        case "text" | "output_config":
            if (written := require_object(value, name).get("format")) is None:
                raise missing(f"{name}.format")
            return _read_typed(written, f"{name}.format")
        case "json_schema":
            return _read_wrapper(require_object(value, name), name, {})
        case "grammar" if isinstance(value, dict):
            return _read_typed(value, name)
        case "grammar":
            return Spelling("grammar", value, name)
        case "extra_body":
            within = fields_within(require_object(value, name))[0]
            raise BadRequest(
                f"Unknown parameter: 'extra_body.{within}'. Expected '{within}': 'extra_body' is an option of SDKs.",
                param=f"extra_body.{within}",
            )
        case _ if name in _WRAPPERS:
            raise BadRequest(f"Unknown parameter: '{name}'. Expected 'response_format'.", param=name)
        case _:
            return _read_typed(value, name)


def _read_typed(value: object, at: str) -> Spelling:
    """Read an object with a `type`, or Ollama's word."""
    if at != "response_format" and isinstance(value, str):
        if value != "json":
            raise expected(at, "'json', or a JSON schema")
        return Spelling("json_object", True, at)
    described = require_object(value, at)
    match described.get("type"):
        case "text":
            raise expected(f"{at}.type", "'json_schema': with 'text', the schema would be ignored")
        case "json_object" | "json":
            if _has_schema(described):
                return _read_schema(described, at)
            if described.get("value") is not None:
                return Spelling("json", described["value"], f"{at}.value")
            return Spelling("json_object", True, at, is_openai=described["type"] == "json_object")
        case "json_schema":
            return _read_schema(described, at)
        case "regex":
            return _read_source("regex", described, at, ("pattern", "regex", "value"))
        case "grammar" | "ebnf" | "gbnf" | "lark":
            return _read_source("grammar", described, at, ("grammar", "definition", "value"))
        case "choice":
            return _read_source("choice", described, at, ("choice", "choices", "value"))
        case "structural_tag":
            return Spelling("structural_tag", described, at, is_openai=True)
        case None if at == "response_format":
            raise missing("response_format.type")
        case None if _has_schema(described):
            return _read_schema(described, at)
        case None | "object" | "array" if not _SCHEMA_WORDS.isdisjoint(described.keys() - {"type"}):
            return Spelling("json", described, at)
        case str() as word if at in ("format", "output_format") and word in _SCHEMA_TYPES:
            return Spelling("json", described, at)
        case None:
            raise missing(f"{at}.type")
        case _:
            raise expected(f"{at}.type", _TYPES)


def _has_schema(value: object) -> bool:
    return isinstance(value, dict) and (value.get("schema") is not None or value.get("json_schema") is not None)


def _read_schema(described: Mapping[str, Any], at: str) -> Spelling:
    """Read a schema beside `type`, or in OpenAI's object `json_schema`."""
    wrapper = described.get("json_schema")
    if isinstance(wrapper, dict):
        is_openai = at == "response_format" and described.get("type") == "json_schema"
        return _read_wrapper(wrapper, f"{at}.json_schema", described)._replace(
            is_openai=is_openai and wrapper.get("schema") is not None and _name(wrapper) is not None
        )
    if described.get("schema") is None:
        raise missing(f"{at}.json_schema.schema" if at == "response_format" else f"{at}.schema")
    return Spelling("json", described["schema"], f"{at}.schema", _about(described))


def _read_wrapper(wrapper: Mapping[str, Any], at: str, outer: Mapping[str, Any]) -> Spelling:
    for word in ("schema", "schema_definition"):  # Mistral's SDK has its own word
        if wrapper.get(word) is not None:
            return Spelling("json", wrapper[word], f"{at}.{word}", _about({**outer, **wrapper}))
    if _SCHEMA_WORDS.isdisjoint(wrapper) and wrapper.keys() - _ABOUT == set() and (wrapper or outer):
        raise missing(f"{at}.schema")
    return Spelling("json", wrapper, at, _about(outer))


def _read_source(kind: Kind, described: Mapping[str, Any], at: str, words: tuple[str, ...]) -> Spelling:
    for word in words:
        if described.get(word) is not None:
            return Spelling(kind, described[word], f"{at}.{word}")
    raise missing(f"{at}.{words[0]}")


def _about(described: Mapping[str, Any]) -> Mapping[str, Any]:
    about = {word: described[word] for word in _ABOUT if described.get(word) is not None}
    return about | {"name": _name(described) or _UNNAMED["name"]}


def _name(described: Mapping[str, Any]) -> str | None:
    name = described.get("name")
    return name if isinstance(name, str) and _NAME.fullmatch(name) else None
