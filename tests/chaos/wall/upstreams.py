"""Upstreams that answer in their own way: one message, as a whole answer or as a stream, as the request asks."""

from __future__ import annotations

from typing import Any

from tests.support.behaviours import Behaviour, Call, error, respond, stream
from tests.support.stream_events import DONE, delta, finished, first, usage_event, usage_of


def either(whole: Behaviour, streamed: Behaviour) -> Behaviour:
    """Do what the request asks for."""

    async def behave(call: Call) -> None:
        await (streamed if call.json.get("stream") else whole)(call)

    return behave


def message(finish: str | None = "stop", *, usage: dict[str, Any] | None = None, **fields: Any) -> Behaviour:
    """Answer with a message that has these fields."""
    counted = usage or usage_of(10, 2)
    content = {"role": "assistant", "content": None} | fields
    choice = {"index": 0, "message": content, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    events = (first(), delta(**fields), finished(finish), usage_event(counted), DONE)
    return either(respond(200, body | {"usage": counted}), stream(*events))


def body(content: Any) -> Behaviour:
    """Answer with 200 and this JSON: as the body, or as the first event."""
    return either(respond(200, content), stream(first(), content, DONE))


def unless(field: str, refusal: Behaviour, then: Behaviour) -> Behaviour:
    """Refuse requests that have the field."""

    async def behave(call: Call) -> None:
        await (refusal if field in call.json else then)(call)

    return behave


def unsupported(param: str) -> Behaviour:
    """Refuse a field as OpenAI does."""
    words = f"Unsupported parameter: '{param}' is not supported with this model."
    return error(400, words, kind="invalid_request_error", code="unsupported_parameter", param=param)
