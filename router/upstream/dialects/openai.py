"""The dialect of OpenAI's API and of servers that speak it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from router.config.models import Model
from router.errors import (
    ApiError,
    Misconfigured,
    Overloaded,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)
from router.messages import strict_json
from router.structured.engine.constrained_call import EngineFields, FormatRequest, ToolRequest, response_format
from router.types import Ability, ChatCall
from router.upstream.base import Dialect
from router.upstream.dialects import register
from router.upstream.misconfiguration import misconfiguration
from router.upstream.request_fields import drop

# vLLM's own sampling and serving parameters. OpenAI's API refuses them, and requests work without them.
VLLM_ONLY = frozenset(
    {
        "add_generation_prompt",
        "allowed_token_ids",
        "bad_words",
        "cache_salt",
        "chat_template",
        "chat_template_kwargs",
        "continue_final_message",
        "guided_decoding_backend",
        "guided_whitespace_pattern",
        "ignore_eos",
        "include_stop_str_in_output",
        "length_penalty",
        "min_p",
        "min_tokens",
        "mm_processor_kwargs",
        "priority",
        "prompt_logprobs",
        "repetition_detection",
        "repetition_penalty",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "stop_token_ids",
        "thinking_token_budget",
        "top_k",
        "truncate_prompt_tokens",
        "use_beam_search",
        "vllm_xargs",
    }
)
MAX_MESSAGE_CHARS = 500
MIN_KEY_CHARS = 8
_NO_SENTENCE = ("<", "{", "[")
"""begins a page of a proxy, or broken JSON"""
PROMPT_TOO_LONG_CODES = ("context_length_exceeded", "exceed_context_size_error")
PROMPT_TOO_LONG_MESSAGES = ("maximum context length", "max_model_len", "longer than the model's context length")
"""parts of the messages of servers that send no code: vLLM 0.32, SGLang 0.5"""


@register
class OpenAIDialect(Dialect):
    """Any server that speaks OpenAI's API."""

    name = "openai"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"tools", "structured", "logprobs"})  # few serve /completions

    def body(self, call: ChatCall, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the body without vLLM's own parameters."""
        fields = fields_for_model(call, model)
        adapted = drop(fields, VLLM_ONLY)
        return fields, adapted

    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        """Pass on a 4xx of the upstream; any other status is a failure of the upstream."""
        return refusal(model, status, error_object(body), retry_after_s)

    def format_fields(self, request: FormatRequest) -> EngineFields:
        """Write schemas as `response_format`. These APIs support no other formats, so those go into the prompt."""
        output_format = request.output_format
        if output_format.kind not in ("json_schema", "json_object"):
            return EngineFields(in_words=True)
        if output_format.is_openai:
            return EngineFields(kept=("response_format",))
        schema = output_format.schema.value if output_format.schema else {}
        return EngineFields({"response_format": response_format(output_format, schema)})

    def tool_fields(self, request: ToolRequest) -> EngineFields:
        """Return no changes: tools stay as the client wrote them."""
        return EngineFields()


def fields_for_model(call: ChatCall, model: Model) -> dict[str, Any]:
    """Return the body's fields for this model, most of them unchanged.

    Every stream is asked for its usage, because every request is priced.
    """
    fields: dict[str, Any] = {**call.fields, "model": model.upstream_name}
    if call.stream and not call.include_usage:
        fields["stream_options"] = {**(call.body.get("stream_options") or {}), "include_usage": True}
    return fields


def error_object(body: bytes) -> dict[str, Any]:
    """Return the error object of an error body, in any of the known formats.

    Its texts are neither cut nor serialized here: otherwise `redact_key` could not find our key in them.
    """
    try:
        text = body.decode().strip()
    except ValueError:
        return {}
    try:
        parsed = strict_json.loads(text)
    except ValueError:
        return {} if text.startswith(_NO_SENTENCE) else {"message": text}
    if isinstance(parsed, list) and len(parsed) == 1:  # Gemini
        [parsed] = parsed
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    if isinstance(error, dict):
        return error if "message" in error else _of_detail(error)
    return {"message": error} if isinstance(error, str) else {}


def _of_detail(error: dict[str, Any]) -> dict[str, Any]:
    """Return the error of a server on FastAPI: `detail` is a text, or a list of what is wrong where."""
    detail = error.get("detail")
    kept: dict[str, Any] = {name: error[name] for name in ("type", "code", "param") if name in error}
    if not (isinstance(detail, list) and detail and isinstance(detail[0], dict)):
        if detail is None and (errors := error.get("errors")):  # RFC 9457, and others
            first = errors[0] if isinstance(errors, list) else errors
            told = first.get("message") if isinstance(first, dict) else None
            return {**kept, "message": told or json.dumps(first)}
        return {**kept, "message": detail}
    loc = detail[0].get("loc")
    place = ".".join(str(part) for part in loc if part != "body") if isinstance(loc, list) else None
    return {"param": place, **kept, "message": detail[0].get("msg")}


def redact_key(error: Mapping[str, Any], model: Model) -> Mapping[str, Any]:
    """Return the error without our key, which some servers repeat. A very short key is a placeholder and stays."""
    for secret in model.secrets:
        if len(secret) >= MIN_KEY_CHARS:
            error = _redact(secret, error)
    return error


def _redact(secret: str, value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(secret, "[redacted]")
    if isinstance(value, Mapping):
        return {_redact(secret, name): _redact(secret, part) for name, part in value.items()}
    return [_redact(secret, part) for part in value] if isinstance(value, list) else value


def unable(model: Model, error: Mapping[str, Any]) -> UpstreamRejected:
    """Return the error for a request that needs what the upstream's model or server cannot do: another one may."""
    message = str(redact_key(error, model).get("message") or "")[:MAX_MESSAGE_CHARS]
    told = f"The model '{model.name}' cannot serve this request: {message}"
    return UpstreamRejected(400, {"message": told, "code": "unsupported_by_model", "param": error.get("param")})


def is_prompt_too_long(status: int, error: Mapping[str, Any]) -> bool:
    """Return whether the message of an error says that the prompt exceeds the context."""
    return status == 400 and any(words in str(error.get("message")) for words in PROMPT_TOO_LONG_MESSAGES)


def refusal(model: Model, status: int, error: Mapping[str, Any], retry_after_s: float | None) -> ApiError:
    """Return the error for the client that an upstream's error status leads to."""
    error = redact_key(error, model)
    message = str(error.get("message") or "")[:MAX_MESSAGE_CHARS]
    kind = misconfiguration(status, error)
    if kind == "key":
        return Misconfigured(kind)  # without the message: it may contain a part of our key
    if kind in ("tool_parser", "chat_template"):
        status = min(status, 400)  # llama.cpp says so with 500, but nothing speaks against the replica
    if status in (408, 504):
        return UpstreamTimedOut(f"the upstream answered {status}: {message}", retry_after_s=retry_after_s)
    if status in (503, 529):
        return Overloaded(
            f"Model '{model.name}': the upstream is overloaded: {message}", retry_after_s=retry_after_s or 1.0
        )
    if 400 <= status < 500:
        code, kind_of_error = error.get("code"), error.get("type")
        kept = {
            **error,
            "message": message or f"Model '{model.name}': the upstream answered {status}",
            "type": kind_of_error if isinstance(kind_of_error, str) else "invalid_request_error",
            "code": code if isinstance(code, str) else None,
        }
        if status == 429:
            if kept["code"] is None or str(kept["code"]).isdigit():
                kept["code"] = "rate_limit_exceeded"
            retry_after_s = 1.0 if retry_after_s is None else retry_after_s
        too_long = kept["code"] is None and is_prompt_too_long(status, error)
        if too_long or kept["code"] in PROMPT_TOO_LONG_CODES or kept["type"] in PROMPT_TOO_LONG_CODES:
            kept |= {"type": "invalid_request_error", "code": "context_length_exceeded"}
        rejected = UpstreamRejected(status, kept, retry_after_s=retry_after_s)
        return Misconfigured(kind, rejected) if kind else rejected
    said = f": {message}" if message else ""
    return UpstreamFailed(f"the upstream answered {status}{said}", retry_after_s=retry_after_s)
