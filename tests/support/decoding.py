"""Bodies as clients send them, and what decoding makes of them."""

import json

import pytest

from router.errors import BadRequest
from router.types import ChatCall
from server.endpoints import decode as module
from server.endpoints.registry import ENDPOINTS

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
TEXT = {"model": "auto", "prompt": "hi"}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def decode(path: str, raw: bytes) -> ChatCall:
    return module.decode(ENDPOINTS[f"/v1/{path}"], raw)


def chat(**fields):
    return decode("chat/completions", json.dumps(CHAT | fields).encode())


def text(**fields):
    return decode("completions", json.dumps(TEXT | fields).encode())


def refused(endpoint, body) -> BadRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BadRequest) as caught:
        decode(endpoint, raw)
    error = caught.value
    assert error.status == 400
    assert set(error.body()["error"]) == {"message", "type", "param", "code"}
    assert len(error.message) < 400
    return error


def user(content):
    return {"messages": [{"role": "user", "content": content}]}
