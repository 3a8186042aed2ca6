"""What is asked for a schema, and how the checker's parts are called as the gateway calls them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from router.types import ChatCall
from server.endpoints.chat import CHAT_ENDPOINT
from server.endpoints.decode import decode

QUESTION = [{"role": "user", "content": "Give one example."}]


def as_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `response_format` that asks for a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def call_for(schema: Mapping[str, Any]) -> ChatCall:
    """Return a request for a schema, decoded as the gateway decodes it."""
    body = {"model": "m", "messages": QUESTION, "response_format": as_format(schema)}
    return decode(CHAT_ENDPOINT, json.dumps(body).encode())


def answered(text: str) -> dict[str, Any]:
    """Return the choice of an answer that says just that."""
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
