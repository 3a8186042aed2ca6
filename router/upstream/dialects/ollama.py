"""The dialect of Ollama's OpenAI-compatible API. Written after its documents and sources, version 0.12.11 and newer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from router.config.models import Model
from router.errors import ApiError
from router.structured.engine.constrained_call import EngineFields, FormatRequest, ToolRequest, response_format
from router.types import Ability, ChatCall
from router.upstream.base import Dialect
from router.upstream.dialects import register
from router.upstream.dialects.openai import error_object, fields_for_model, refusal, unable
from router.upstream.request_fields import drop, limit_tools, rename, use_system_role

_COMMON = {
    "frequency_penalty",
    "max_tokens",
    "model",
    "presence_penalty",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
}
_CHAT = {"logprobs", "messages", "reasoning", "reasoning_effort", "response_format", "tools", "top_logprobs"}
_COMPLETIONS = {"logprobs", "prompt", "suffix"}
PROMPT_TOO_LONG = ("exceeds the available context size", "exceeds the context length")
BAD_GRAMMAR = ("failed to parse grammar", "invalid JSON schema in format", "invalid format")
UNABLE = ("does not support", "image URLs are not currently supported", "cannot unmarshal")


@register
class OllamaDialect(Dialect):
    """Ollama, attached."""

    name = "ollama"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"completions", "tools", "structured", "logprobs"})
    health_path = "/api/version"
    decodes_format_beside_calls = False  # the grammar of a format leaves no room for calls
    refuses_long_prompts = False
    has_one_choice = True

    def body(self, call: ChatCall, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the body with the fields that Ollama knows. It ignores all others silently."""
        fields = fields_for_model(call, model)
        use_system_role(call, fields)
        limit_tools(call, fields)
        rename(fields, {"max_completion_tokens": "max_tokens"})
        if call.body.get("tool_choice") == "none":
            drop(fields, ("tools",))
        if call.body.get("tool_choice") in ("auto", "none"):
            drop(fields, ("tool_choice",))
        drop(fields, ("n",))  # `has_one_choice`: it is 1
        prompt = call.body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
            fields["prompt"] = prompt[0]
        known = _COMMON | (_CHAT if call.endpoint.has_messages else _COMPLETIONS)
        adapted = drop(fields, fields.keys() - known)
        return fields, adapted

    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        """Read the reason from the message: its errors have no codes, and some quote those of its llama.cpp."""
        error = error_object(body)
        if isinstance(error.get("message"), str):
            error["message"] = _innermost(error["message"])
        message = str(error.get("message"))
        if any(words in message for words in PROMPT_TOO_LONG):
            status, error = 400, error | {"code": "context_length_exceeded"}
        elif any(words in message for words in BAD_GRAMMAR):
            status, error = 400, error | {"code": "unsupported_schema"}
        elif status in (400, 500) and any(words in message for words in UNABLE):
            return unable(model, error)
        return refusal(model, status, error, retry_after_s)

    def format_fields(self, request: FormatRequest) -> EngineFields:
        """Write schemas as `response_format` of chats. Ollama has no other formats, and none for text completions."""
        output_format = request.output_format
        if output_format.kind not in ("json_schema", "json_object") or "messages" not in request.body:
            return EngineFields(in_words=True)
        schema = output_format.schema.value if output_format.schema else {}
        return EngineFields({"response_format": response_format(output_format, schema)})

    def tool_fields(self, request: ToolRequest) -> EngineFields:
        """Require calls in the prompt: Ollama ignores `tool_choice`."""
        return EngineFields(in_words=True)


def _innermost(message: str) -> str:
    """Return the message of an error that Ollama quotes as JSON, or the message itself."""
    try:
        quoted: Any = msgspec.json.decode(message)
    except (msgspec.DecodeError, ValueError):
        return message
    error = quoted.get("error") if isinstance(quoted, Mapping) else None
    return str(error.get("message") or message) if isinstance(error, Mapping) else message
