"""The dialect of llama.cpp's `llama-server`: OpenAI's API with GBNF grammars and llama.cpp's own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from router.config.models import Model
from router.errors import ApiError
from router.structured.constraint import OutputFormat
from router.structured.engine.constrained_call import EngineFields, FormatRequest, ToolRequest
from router.types import Ability, ChatCall
from router.upstream import gbnf
from router.upstream.base import Dialect, Rewrite
from router.upstream.completion_logprobs import CompletionLogprobs
from router.upstream.continuation import Beginning
from router.upstream.dialects import register
from router.upstream.dialects.openai import VLLM_ONLY, error_object, fields_for_model, refusal, unable
from router.upstream.request_fields import call_schema, drop, limit_tools, rename, use_system_role

OWN_NAMES = {"repetition_penalty": "repeat_penalty", "thinking_token_budget": "thinking_budget_tokens"}
"""vLLM's parameters that it knows by another name"""
KNOWN = frozenset(
    {
        "add_generation_prompt",
        "chat_template_kwargs",
        "continue_final_message",
        "ignore_eos",
        "min_p",
        "top_k",
    }
)
IGNORED = frozenset(VLLM_ONLY - KNOWN | {"best_of", "echo", "function_call", "functions", "suffix"})
"""parameters that it does not know, and would ignore silently"""
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
LOGPROBS_FIELDS = ("logprobs", "top_logprobs")
PROMPT_TOO_LONG = ("exceeds the available context size", "larger than the max context size", "Context size has been")
BAD_GRAMMAR = ("JSON schema error", "failed to parse grammar", "'json_schema'", "'grammar'", "Error resolving ref")
UNABLE = ("input is not supported", "requires --jinja flag", "Jinja Exception", "Field 'n'", "does not support")
"""of errors, some with status 500, that another server would not give"""


@register
class LlamaCppDialect(Dialect):
    """llama.cpp's own server, attached."""

    name = "llamacpp"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"completions", "tools", "structured", "logprobs"})
    health_path = "/health"
    continues_messages = True
    repeats_messages = True
    decodes_format_beside_calls = False  # with a constrained format, the model cannot make calls

    def body(self, call: ChatCall, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the body with llama.cpp's names of parameters, and without those that it would ignore."""
        fields = fields_for_model(call, model)
        use_system_role(call, fields)
        limit_tools(call, fields)
        rename(fields, OWN_NAMES)
        ignored = IGNORED
        if _wants_logprobs(call):
            if call.stream and call.body.get("tools"):  # it refuses them together
                ignored = IGNORED.union(LOGPROBS_FIELDS)
            elif not call.endpoint.has_messages:
                fields["logprobs"] = call.body["logprobs"] or 1
            elif not call.body.get("top_logprobs"):  # without it, each token has 20 alternatives; with 0, no logprobs
                fields["top_logprobs"] = 1
        adapted = drop(fields, ignored)
        return fields, adapted

    def can_stream(self, call: ChatCall) -> bool:
        """Streams have no logprobs if there are tools."""
        return super().can_stream(call) and not (_wants_logprobs(call) and call.body.get("tools"))

    def rewrite(self, call: ChatCall) -> Rewrite | None:
        """Text completions have the logprobs of chat completions."""
        return CompletionLogprobs() if _wants_logprobs(call) and not call.endpoint.has_messages else None

    def continuation(self, call: ChatCall, model: Model, beginning: Beginning) -> Mapping[str, Any] | None:
        """Go on from a trailing assistant message, unless the client wrote one: the answer would repeat that, too."""
        if call.endpoint.has_messages and call.body["messages"][-1]["role"] == "assistant":
            return None
        return super().continuation(call, model, beginning)

    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        """Read the reason from the message: many faults of a request have status 500."""
        error = error_object(body)
        message = str(error.get("message"))
        if any(words in message for words in PROMPT_TOO_LONG):
            status, error = 400, error | {"code": "context_length_exceeded"}
        elif any(words in message for words in UNABLE):
            return unable(model, error)
        elif any(words in message for words in BAD_GRAMMAR):
            status, error = 400, error | {"code": "unsupported_schema"}
        return refusal(model, status, error, retry_after_s)

    def format_fields(self, request: FormatRequest) -> EngineFields:
        """Write a schema as `json_schema`, and other formats as GBNF; unlike `response_format`, completions have both.

        Structural tags, Lark grammars and some regular expressions go into the prompt.
        """
        output_format = request.output_format
        if output_format.kind in ("json_schema", "json_object"):
            return EngineFields({"json_schema": output_format.schema.value if output_format.schema else ANY_OBJECT})
        grammar = _grammar(output_format)
        return EngineFields({"grammar": grammar}) if grammar else EngineFields(in_words=True)

    def tool_fields(self, request: ToolRequest) -> EngineFields:
        """Require calls as JSON text.

        `tool_choice: required` lets the model write prose first, and has no effect with templates that know no tools.
        """
        if request.enforcement == "none":
            return EngineFields({"tool_choice": "auto"}, in_words=True)
        schema = call_schema(request.calls)
        return EngineFields({"json_schema": schema} if schema else {}, in_words=True)


def _wants_logprobs(call: ChatCall) -> bool:
    wanted = call.body.get("logprobs")
    return wanted is not None and wanted is not False


def _grammar(output_format: OutputFormat) -> str | None:
    match output_format.kind:
        case "choice":
            return gbnf.choice_grammar(output_format.choices)
        case "regex":
            return gbnf.regex_grammar(output_format.source)
        case "grammar" if "::=" in output_format.source:
            return output_format.source
        case _:
            return None
