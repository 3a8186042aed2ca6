"""Rules between fields as JSON schema, for the OpenAPI document.

Requests are checked in code, whose messages name the fault; a test compares both. What no schema can say stays out:
that a regex or a grammar compiles, and that a choice names one of the tools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

JsonObject = dict[str, Any]

_SET: JsonObject = {"not": {"type": "null"}}
_TEXT: JsonObject = {"minLength": 1}
_KINDS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
_FORMATS = (
    "text", "json_object", "json", "json_schema", "structural_tag",
    "regex", "grammar", "ebnf", "gbnf", "lark", "choice",
)  # fmt: skip
_CHOICE: JsonObject = {"minItems": 1, "uniqueItems": True, "items": _TEXT}


def _if_set(field: str, then: JsonObject) -> JsonObject:
    return {"if": {"required": [field], "properties": {field: _SET}}, "then": then}


def _only_with(field: str, other: str) -> JsonObject:
    return _if_set(field, {"required": [other], "properties": {other: {"const": True}}})


_SAMPLING: Sequence[JsonObject] = (
    _only_with("stream_options", "stream"),
    {
        "properties": {
            "guided_regex": _TEXT,
            "guided_grammar": _TEXT,
            "guided_choice": _CHOICE,
            "guided_json": {**_TEXT, "not": {"const": False}},
        }
    },
)
RULES: Mapping[str, Sequence[JsonObject]] = {
    "Message": (
        {
            "if": {"properties": {"role": {"enum": ["assistant", "function"]}}},
            "else": {"required": ["content"], "properties": {"content": {**_SET, "minItems": 1}}},
        },
        {
            "if": {"properties": {"role": {"const": "tool"}}},
            "then": {"required": ["tool_call_id"], "properties": {"tool_call_id": _SET}},
        },
    ),
    "ContentPart": (
        {
            "if": {"properties": {"type": {"const": "text"}}},
            "then": {"required": ["text"], "properties": {"text": {"type": "string"}}},
        },
    ),
    "ResponseFormat": ({"properties": {"type": {"enum": list(_FORMATS)}}},),
    "StructuredOutputs": (
        {"oneOf": [{"required": [kind], "properties": {kind: {"not": {"enum": [None, False]}}}} for kind in _KINDS]},
        {"properties": {"regex": _TEXT, "grammar": _TEXT, "choice": _CHOICE, "json": _TEXT, "structural_tag": _TEXT}},
    ),
    "ChatRequest": (
        *_SAMPLING,
        _only_with("top_logprobs", "logprobs"),
        {
            "properties": {
                "tool_choice": {"required": ["type"], "properties": {"type": {"enum": ["function", "allowed_tools"]}}},
                "function_call": {"required": ["name"], "properties": {"name": {"type": "string"}}},
            }
        },
    ),
    "CompletionRequest": _SAMPLING,
}
"""by the name of a request's type, or of a part of one"""
NORMALISED: Mapping[str, JsonObject] = {
    "FunctionCall": {
        "required": ["name"],
        "arguments": {
            "anyOf": [{"type": "string"}, {"type": "object"}, {"type": "null"}],
            "description": "JSON as text. An object is written as text; nothing becomes `{}`.",
        },
    },
    "ToolCall": {"required": ["id", "function"], "type": {"enum": ["function", None]}},
}
"""what requests may lack, because it is added before they are checked: by type, `required` and the changed fields"""
