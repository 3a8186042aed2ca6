"""The dialect of llama-cpp-python's server, `python -m llama_cpp.server`: an API of its own around llama.cpp.

A grammar that llama.cpp cannot parse ends its process, and so does a schema that becomes such a grammar. So it gets no
grammar from a client, and no schema with more than a few keywords.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from router.config.models import Model
from router.errors import ApiError
from router.structured.engine.constrained_call import EngineFields, FormatRequest, ToolRequest
from router.types import Ability, ChatCall
from router.upstream import gbnf
from router.upstream.base import Dialect, Rewrite
from router.upstream.dialects import register
from router.upstream.dialects.openai import VLLM_ONLY, error_object, fields_for_model, refusal, unable
from router.upstream.request_fields import call_schema, drop, limit_tools, rename

OWN_NAMES = {"max_completion_tokens": "max_tokens", "repetition_penalty": "repeat_penalty"}
IGNORED = frozenset(VLLM_ONLY - {"min_p", "min_tokens", "top_k"} | {"best_of", "function_call", "functions", "grammar"})
"""parameters that it does not know, and those that could end it"""
UNABLE = ("validation error", "logits_all", "does not support")
"""of errors with status 500 that another server would not give"""
SAFE_KEYWORDS = frozenset({"additionalProperties", "anyOf", "const", "enum", "items", "properties", "required", "type"})
NOTES = frozenset({"$schema", "default", "description", "examples", "title"})
"""keywords that become no part of a grammar"""
SAFE_TEXT = re.compile(r"[\w .,:;/@+-]*", re.ASCII)
"""of names and values: it escapes no others"""


@register
class LlamaCppPythonDialect(Dialect):
    """llama-cpp-python's server, attached."""

    name = "llama-cpp-python"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"completions", "tools", "structured"})
    decodes_format_beside_calls = False  # with a constrained format, the model cannot make calls
    refuses_long_prompts = False  # only if the answer is not streamed: a stream just ends
    has_one_choice = True
    has_one_slot = True

    def headers(self, model: Model, attempt_id: str) -> dict[str, str]:
        """Return the headers without our id: the server refuses ids that are no UUIDs."""
        headers = super().headers(model, attempt_id)
        del headers["X-Request-Id"]
        return headers

    def body(self, call: ChatCall, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the body with the fields and messages that the server accepts."""
        fields = fields_for_model(call, model)
        limit_tools(call, fields)
        rename(fields, OWN_NAMES)
        adapted = drop(fields, IGNORED)
        drop(fields, ("n", "structured_outputs", *(("tools",) if call.body.get("tool_choice") == "none" else ())))
        drop(fields, ("tool_choice",))  # required calls have a schema; an object would make a grammar of its own
        if grammar := (call.body.get("structured_outputs") or {}).get("grammar"):
            fields["grammar"] = grammar
        if call.body.get("logprobs") not in (None, False):
            name = "top_logprobs" if call.endpoint.has_messages else "logprobs"
            fields[name] = call.body.get(name) or 1  # with 0, there are no logprobs
        if call.endpoint.has_messages:
            fields["messages"] = [_with_text(message) for message in call.endpoint.messages(call.body)]
        return fields, adapted

    def rewrite(self, call: ChatCall) -> Rewrite | None:
        """Each call comes twice, as `tool_calls` and as `function_call`."""
        return _without_second_call if call.body.get("tools") else None

    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        """Read the reason from the message: every fault of a request but a long prompt has status 500."""
        error = error_object(body)
        if isinstance(message := error.get("message"), str):
            error["message"] = message.partition("\n\n  File ")[0]  # without the server's folders
        if status == 500 and any(words in str(message) for words in UNABLE):
            return unable(model, error)
        return refusal(model, status, error, retry_after_s)

    def format_fields(self, request: FormatRequest) -> EngineFields:
        """Write a simple schema as `response_format`, choices and regular expressions as a grammar of our own.

        Of another schema, decoding enforces that the answer is JSON. Text completions have grammars only.
        """
        output_format = request.output_format
        grammar = None
        match output_format.kind:
            case "json_schema" | "json_object" if "messages" in request.body:
                return _json_fields(output_format.schema.value if output_format.schema else {})
            case "choice":
                grammar = gbnf.choice_grammar(output_format.choices)
            case "regex":
                grammar = gbnf.regex_grammar(output_format.source)
        # `body` renames it: a client's own field `grammar` is dropped
        return EngineFields({"structured_outputs": {"grammar": grammar}} if grammar else {}, in_words=not grammar)

    def tool_fields(self, request: ToolRequest) -> EngineFields:
        """Require calls as JSON text."""
        schema = call_schema(request.calls)
        fields = {} if request.enforcement == "none" or schema is None else _json_fields(schema).fields
        return EngineFields(fields, in_words=True)


def _json_fields(schema: Mapping[str, Any]) -> EngineFields:
    is_safe = _is_safe(schema)
    response_format = {"type": "json_object", "schema": schema} if schema and is_safe else {"type": "json_object"}
    return EngineFields({"response_format": response_format}, in_words=not is_safe)


def _is_safe(schema: object) -> bool:
    """Return whether a schema becomes a grammar that llama.cpp can surely parse."""
    if not isinstance(schema, Mapping) or not schema.keys() <= SAFE_KEYWORDS | NOTES:
        return False
    properties, items, branches = schema.get("properties", {}), schema.get("items"), schema.get("anyOf", [])
    names = [*properties, *schema.get("required", []), *schema.get("enum", []), schema.get("const", "")]
    subschemas = [*properties.values(), *branches, *([] if items is None else [items])]
    return (
        isinstance(schema.get("additionalProperties", False), bool)
        and all(_is_safe_value(value) for value in names)
        and all(map(_is_safe, subschemas))
    )


def _is_safe_value(value: object) -> bool:
    return SAFE_TEXT.fullmatch(value) is not None if isinstance(value, str) else isinstance(value, int | float | None)


def _with_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message with a text as its content, and a role that chat templates know."""
    content = message.get("content") or ""
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        content = "\n".join(part["text"] for part in content)
    role = "system" if message["role"] == "developer" else message["role"]
    return {**message, "role": role, "content": content}


def _without_second_call(answer: bytes) -> bytes:
    if b'"function_call"' not in answer:
        return answer
    try:
        parsed = msgspec.json.decode(answer)
        for choice in parsed["choices"]:
            message = choice.get("message") or choice.get("delta") or {}
            if message.get("tool_calls"):
                message.pop("function_call", None)
    except (msgspec.DecodeError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return answer
    return msgspec.json.encode(parsed)
