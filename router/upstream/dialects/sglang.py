"""The dialect of SGLang: OpenAI's API with its own parameters. Written after its sources, version 0.5.23."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from router.config.models import Model
from router.errors import ApiError
from router.structured.engine.constrained_call import EngineFields, FormatRequest, ToolRequest, response_format
from router.types import Ability, ChatCall
from router.upstream.base import Dialect
from router.upstream.continuation import Beginning, continued_messages
from router.upstream.dialects import register
from router.upstream.dialects.openai import VLLM_ONLY, error_object, fields_for_model, refusal, unable
from router.upstream.request_fields import drop, limit_tools, rename, use_system_role

OWN_NAMES = {"include_stop_str_in_output": "no_stop_trim"}
KNOWN = frozenset(
    {
        "cache_salt",
        "chat_template_kwargs",
        "continue_final_message",
        "ignore_eos",
        "min_p",
        "min_tokens",
        "mm_processor_kwargs",
        "priority",
        "repetition_penalty",
        "return_token_ids",
        "skip_special_tokens",
        "stop_token_ids",
        "top_k",
    }
)
IGNORED = frozenset(VLLM_ONLY - KNOWN | {"function_call", "functions"})
"""parameters that it does not know, and would ignore silently"""
PROMPT_TOO_LONG = (
    "exceeds the maximum allowed length",
    "longer than the model's context length",
    "maximum context length",
    "This model supports at most",  # `max_tokens` alone exceeds the context
)
BAD_GRAMMAR = (
    "Failed to compile",
    "Grammar preprocessing timed out",
    "Grammar-based generation",
    "invalid 'parameters'",
)
_SPECIAL, _ESCAPED = re.compile(r"[\\.^$|?*+()\[\]{}]"), r"\\\g<0>"
UNABLE = ("is not supported for this model", "does not support")


@register
class SGLangDialect(Dialect):
    """SGLang, attached."""

    name = "sglang"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"completions", "tools", "structured", "logprobs"})
    health_path = "/ready"  # /health waits a second or more for a generated token, and is slow in a busy server
    continues_messages = True
    decodes_format_beside_calls = False  # with a constrained format, calls are not constrained

    def body(self, call: ChatCall, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the body with SGLang's names of parameters, and without those that it would ignore."""
        fields = fields_for_model(call, model)
        use_system_role(call, fields)
        limit_tools(call, fields)
        rename(fields, OWN_NAMES)
        adapted = drop(fields, IGNORED)
        return fields, adapted

    def continuation(self, call: ChatCall, model: Model, beginning: Beginning) -> Mapping[str, Any] | None:
        """Ask for the rest of the trailing assistant message."""
        fields = super().continuation(call, model, beginning)
        if fields is None or not call.endpoint.has_messages:
            return fields
        messages = continued_messages(call, beginning, joins=call.body.get("continue_final_message") is True)
        return {"messages": messages, "continue_final_message": True}

    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        """Replace the types and codes of SGLang's errors, which repeat the status."""
        error = error_object(body)
        message = str(error.get("message"))
        if 400 <= status < 500:
            error |= {"type": "invalid_request_error"}
        if status == 400:
            if any(words in message for words in PROMPT_TOO_LONG):
                error |= {"code": "context_length_exceeded"}
            elif any(words in message for words in BAD_GRAMMAR):
                error |= {"code": "unsupported_schema"}
            elif any(words in message for words in UNABLE):
                return unable(model, error)
        return refusal(model, status, error, retry_after_s)

    def format_fields(self, request: FormatRequest) -> EngineFields:
        """Write schemas as `response_format`, choices as a regular expression. Lark grammars go into the prompt."""
        output_format = request.output_format
        match output_format.kind:
            case "json_schema" | "json_object":
                schema = output_format.schema.value if output_format.schema else {}
                return EngineFields({"response_format": response_format(output_format, schema)})
            case "regex":
                return EngineFields({"regex": output_format.source})
            case "choice":
                return EngineFields({"regex": _choice_regex(output_format.choices)})
            case "grammar" if "::=" in output_format.source:
                return EngineFields({"ebnf": output_format.source})
            case "structural_tag":
                tag: dict[str, Any] = msgspec.json.decode(output_format.source)
                return EngineFields({"response_format": {"type": "structural_tag", **tag}})
            case _:
                return EngineFields(in_words=True)

    def tool_fields(self, request: ToolRequest) -> EngineFields:
        """Leave required calls to SGLang, whose decoding enforces `tool_choice`, unless it refused a tool's schema."""
        return EngineFields({"tool_choice": "auto"}, in_words=True) if request.enforcement == "none" else EngineFields()


def _choice_regex(choices: Iterable[str]) -> str:
    """Return a regular expression of the texts. `re.escape` would escape more than the libraries of grammars know."""
    return f"({'|'.join(_SPECIAL.sub(_ESCAPED, choice) for choice in choices)})"
