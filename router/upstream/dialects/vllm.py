"""The dialect of vLLM: OpenAI's API with its own parameters. Its error codes are HTTP statuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from router.config.models import Model
from router.errors import ApiError
from router.structured.constraint import CallConstraint
from router.structured.engine.constrained_call import EngineFields, FormatRequest, ToolRequest, response_format
from router.types import Ability, Backend, ChatCall
from router.upstream.base import Dialect
from router.upstream.continuation import Beginning, continued_messages
from router.upstream.dialects import register
from router.upstream.dialects.openai import error_object, fields_for_model, is_prompt_too_long, refusal
from router.upstream.request_fields import use_system_role

# the error types and messages of vLLM 0.32, which sends no code
VLLM_TYPES = ("BadRequestError", "Bad Request", "NotFoundError", "Not Found")
UNSUPPORTED_SCHEMA_MESSAGES = (
    "json schema into a grammar",
    "features not supported by",
    "Unsupported JSON schema",
    "Invalid structural tag",
    "Grammar error",
    "Invalid grammar specification",
)


WHITESPACE = r"[ \n\r\t]{0,32}"
"""between two tokens of JSON: enough for deep indentation, but it stops models that write blanks without end"""
FREE_REPETITION_TOKENS = 8192
"""a text without a format may repeat itself this long: it is stopped only where nobody can want it"""
REPETITION_UNIT_TOKENS = 16


@register
class VllmDialect(Dialect):
    """vLLM, attached or managed."""

    name = "vllm"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"completions", "tools", "structured", "logprobs"})
    health_path = "/health"
    can_be_started = True
    loads_adapters = True
    has_structured_backend = True
    arguments_key = "vllm_args"
    decodes_format_beside_calls = False  # with a constrained format, vLLM cannot make calls
    continues_messages = True
    tokenize_path: ClassVar[str | None] = "/tokenize"

    def body(self, call: ChatCall, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the whole body. Messages of `developer` become `system`, because chat templates know no other."""
        fields = fields_for_model(call, model)
        use_system_role(call, fields)
        if (limit := call.max_tokens) is None:
            limit = model.context
        if (limit is None or limit > FREE_REPETITION_TOKENS) and call.body.get("repetition_detection") is None:
            fields |= self.repetition_fields(FREE_REPETITION_TOKENS)
        return fields, ()

    def repetition_fields(self, tokens: int) -> Mapping[str, Any]:
        """Stop an answer after at least so many repeated tokens, and at most nearly twice as many.

        What repeats may have any length up to 31 tokens: of a shorter one, several together have 16 to 31. So the
        repeated tokens count, and not how often a short piece occurs, which would stop a row of 32 zeros.
        """
        return {
            "repetition_detection": {
                "min_pattern_size": REPETITION_UNIT_TOKENS,
                "max_pattern_size": 2 * REPETITION_UNIT_TOKENS - 1,
                "min_count": tokens // REPETITION_UNIT_TOKENS,
            }
        }

    def continuation(self, call: ChatCall, model: Model, beginning: Beginning) -> Mapping[str, Any] | None:
        """Ask for the rest of the trailing assistant message, which has its thoughts: they end the model's thinking."""
        fields = super().continuation(call, model, beginning)
        if fields is None or not call.endpoint.has_messages:
            return fields
        messages = continued_messages(call, beginning, joins=call.body.get("continue_final_message") is True)
        return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}

    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        """Replace the type and code of vLLM's errors by OpenAI's."""
        error = error_object(body)
        message = str(error.get("message") or "")
        upstream_code = error.get("code")
        code = upstream_code if isinstance(upstream_code, str) else None  # vLLM sends the status as a number
        if is_prompt_too_long(status, error):
            code = "context_length_exceeded"
        elif status == 400 and any(words in message for words in UNSUPPORTED_SCHEMA_MESSAGES):
            code = "unsupported_schema"
        if 400 <= status < 500:
            kind = error.get("type")
            ours = kind in VLLM_TYPES or not isinstance(kind, str)
            error |= {"type": "invalid_request_error" if ours else kind, "code": code}
        return refusal(model, status, error, retry_after_s)

    def format_fields(self, request: FormatRequest) -> EngineFields:
        """Write schemas as `response_format`, other formats as `structured_outputs`."""
        output_format, enforcement = request.output_format, request.enforcement
        in_words = enforcement == "partial"
        if output_format.schema is None and output_format.kind != "json_object":
            value = list(output_format.choices) if output_format.kind == "choice" else output_format.source
            return EngineFields({"structured_outputs": {output_format.kind: value}}, in_words=in_words)
        if enforcement != "unknown" and request.backend == "guidance":
            closed: Mapping[str, Any] = output_format.schema.closed if output_format.schema else {"type": "object"}
            guidance = {"whitespace_pattern": WHITESPACE} | ({"lenient": True} if enforcement == "partial" else {})
            asked = response_format(output_format, {**closed, "x-guidance": guidance})
            return EngineFields({"response_format": asked}, in_words=in_words)
        if output_format.is_openai:
            return EngineFields(kept=("response_format",), in_words=in_words)
        schema = output_format.schema.value if output_format.schema else {}
        return EngineFields({"response_format": response_format(output_format, schema)}, in_words=in_words)

    def tool_fields(self, request: ToolRequest) -> EngineFields:
        """Write tools in the form that makes decoding enforce their arguments, if the backend can."""
        if request.calls.legacy or request.enforcement == "unknown":
            return EngineFields()
        if request.enforcement == "none":
            return EngineFields({"tool_choice": "auto"}, in_words=True)
        return EngineFields({"tools": [_decodable(tool, request.calls, request.backend) for tool in request.tools]})


def _decodable(tool: Mapping[str, Any], calls: CallConstraint, backend: Backend | None) -> Mapping[str, Any]:
    function = tool["function"]
    if backend == "xgrammar":  # for xgrammar, vLLM enforces the arguments of strict tools only
        return {**tool, "function": {**function, "strict": True}}
    known = calls.tools.get(function["name"])
    parameters = known.parameters if known else None
    return {**tool, "function": {**function, "parameters": parameters.closed}} if parameters else tool
