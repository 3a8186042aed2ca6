"""POST /v1/chat/completions: the rules that involve several fields of its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from router.errors import BadRequest
from router.messages.chat import CHAT
from server.endpoints.registry import TextEndpoint, register
from server.endpoints.schemas import ChatRequest
from server.endpoints.validation_errors import invalid_type, missing

_ARGUMENTS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _chat_rules(body: Mapping[str, Any]) -> None:
    for i, message in enumerate(body["messages"]):
        # nearly every message is a text
        if len(message) != 2 or type(message.get("content")) is not str or message["role"] == "tool":
            _message_rules(message, f"messages[{i}]")
    if body.get("top_logprobs") is not None and body.get("logprobs") is not True:
        raise BadRequest("'top_logprobs' is only allowed when 'logprobs' is true.", param="top_logprobs")


def _message_rules(message: Mapping[str, Any], at: str) -> None:
    role, content = message["role"], message.get("content")
    if content is None:
        if role not in ("assistant", "function"):
            if "content" in message:
                raise invalid_type(f"{at}.content", "a string or an array of content parts", None)
            raise missing(f"{at}.content")
    elif not isinstance(content, str):
        if not content and role != "assistant":
            raise BadRequest(
                f"Invalid '{at}.content': empty array. Expected at least 1 element.",
                param=f"{at}.content",
                code="empty_array",
            )
        for i, part in enumerate(content):
            if part["type"] == "text" and not isinstance(part.get("text"), str):
                where = f"{at}.content[{i}].text"
                raise invalid_type(where, "a string", part["text"]) if "text" in part else missing(where)
    if role == "tool" and message.get("tool_call_id") is None:
        raise missing(f"{at}.tool_call_id")
    if calls := message.get("tool_calls"):
        for j, call in enumerate(calls):
            if not _is_object(call["function"]["arguments"]):
                raise _bad_call(f"{at}.tool_calls[{j}]", "function.arguments")
    if (function_call := message.get("function_call")) and not _is_object(function_call["arguments"]):
        raise _bad_call(f"{at}.function_call", "arguments")


def _is_object(arguments: str) -> bool:
    try:
        _ARGUMENTS.decode(arguments)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False
    return True


def _bad_call(at: str, field: str) -> BadRequest:
    """Return the error for a call in the history at which each upstream would fail in its own way."""
    message = f"Invalid call in the history, '{at}': its '{field}' must be a JSON object as text."
    return BadRequest(message, param=f"{at}.{field}")


CHAT_ENDPOINT = register(TextEndpoint(CHAT, ChatRequest, "Create a chat completion", _chat_rules))
