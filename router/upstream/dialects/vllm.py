"""The dialect of vLLM: OpenAI's API and its own parameters, with error codes that are HTTP statuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from router.config.models import Model
from router.errors import ApiError
from router.types import ChatCall
from router.upstream.dialects.openai import addressed, error_object, refusal, says_too_long

# how vLLM 0.32 words it; it gives no code
VLLM_TYPES = ("BadRequestError", "Bad Request", "NotFoundError", "Not Found")
UNENFORCEABLE = (
    "json schema into a grammar",
    "features not supported by",
    "Unsupported JSON schema",
    "Invalid structural tag",
    "Grammar error",
    "Invalid grammar specification",
)


class VllmDialect:
    """See `Dialect`."""

    def body(self, call: ChatCall, model: Model) -> tuple[bytes, tuple[str, ...]]:
        """Forward everything; chat templates know `system`, not `developer`."""
        fields = addressed(call, model)
        if call.is_chat:
            messages = call.body["messages"]
            if any(message["role"] == "developer" for message in messages):
                fields["messages"] = [_as_system(message) for message in messages]
        return msgspec.json.encode(fields), ()

    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        """Give vLLM's errors the type and code that OpenAI's have."""
        error = error_object(body)
        message = str(error.get("message") or "")
        said = error.get("code")
        code = said if isinstance(said, str) else None  # vLLM's own is the status
        if says_too_long(status, error):
            code = "context_length_exceeded"
        elif status == 400 and any(words in message for words in UNENFORCEABLE):
            code = "unsupported_schema"
        if 400 <= status < 500:
            kind = error.get("type")
            ours = kind in VLLM_TYPES or not isinstance(kind, str)
            error |= {"type": "invalid_request_error" if ours else kind, "code": code}
        return refusal(model, status, error, retry_after_s)


def _as_system(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**message, "role": "system"} if message.get("role") == "developer" else message
