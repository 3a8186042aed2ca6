"""What other servers answer: llama.cpp's and llama-cpp-python's as observed, Ollama's and SGLang's as documented.

Observed: llama.cpp's server code as of October 2026 (the wheel xllamacpp 2026.10.11549), llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import json
from typing import Any

DONE = b"[DONE]"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}


def tool(name: str, argument: str, **more: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument], **more}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


WEATHER, TIME = tool("get_weather", "city"), tool("get_time", "zone")
TOOLS = [WEATHER, TIME]
NAMED = {"type": "function", "function": {"name": "get_time"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()


def _chunks(of: dict[str, Any], deltas: list[dict[str, Any]], finish: str, last: dict[str, Any]) -> list[bytes]:
    choices = [*({"delta": delta, "finish_reason": None} for delta in deltas), {"delta": {}, "finish_reason": finish}]
    events: list[dict[str, Any]] = [{**of, "choices": [{"index": 0, **choice}]} for choice in choices]
    return [*map(_dump, [*events, *([{**of, **last}] if last else [])]), DONE]


USAGE = {
    "completion_tokens": 20,
    "prompt_tokens": 37,
    "total_tokens": 57,
    "prompt_tokens_details": {"cached_tokens": 36},
}
TIMINGS = {"cache_n": 0, "prompt_n": 37, "prompt_ms": 456.263, "predicted_n": 20, "predicted_ms": 575.399}


class LlamaServer:
    """llama.cpp's `llama-server`."""

    @classmethod
    def whole(cls, content: str | None, finish: str = "stop", **message: Any) -> bytes:
        choice = {"finish_reason": finish, "index": 0, "message": {"role": "assistant", "content": content, **message}}
        return _dump({"choices": [choice], "model": "slm", "usage": USAGE, "id": "c-1", "timings": TIMINGS})

    @classmethod
    def text(cls, text: str, tokens: list[dict[str, Any]]) -> bytes:
        choice = {"text": text, "index": 0, "logprobs": {"content": tokens}, "finish_reason": "length"}
        return _dump({"choices": [choice], "object": "text_completion", "usage": USAGE, "id": "c-1"})

    @classmethod
    def stream(cls, *pieces: str) -> list[bytes]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}, *({"content": one} for one in pieces)]
        return _chunks({"model": "slm", "id": "c-1"}, deltas, "stop", {"choices": [], "usage": USAGE})

    @staticmethod
    def token(text: str, logprob: float) -> dict[str, Any]:
        one = {"id": 7042, "token": text, "bytes": list(text.encode()), "logprob": logprob}
        return {**one, "top_logprobs": [one]}

    @staticmethod
    def error(message: str, code: int = 400, kind: str = "invalid_request_error", **more: Any) -> bytes:
        return _dump({"error": {"code": code, "message": message, "type": kind, **more}})

    TOO_LONG = "request (5031 tokens) exceeds the available context size (2048 tokens), try increasing it"


class LlamaCppPython:
    """llama-cpp-python's server."""

    @staticmethod
    def whole(content: str | None, finish: str = "stop", **message: Any) -> bytes:
        said = {"content": content, **message, "role": "assistant"}
        choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish}
        usage = {"prompt_tokens": 37, "completion_tokens": 20, "total_tokens": 57}
        return _dump({"id": "c-1", "object": "chat.completion", "model": "slm", "choices": [choice], "usage": usage})

    @staticmethod
    def stream(*pieces: str) -> list[bytes]:
        deltas: list[dict[str, Any]] = [{"role": "assistant"}, *({"content": one} for one in pieces)]
        return _chunks({"id": "c-1", "model": "slm"}, deltas, "stop", {})

    @staticmethod
    def error(message: str, kind: str = "internal_server_error", code: str | None = None) -> bytes:
        return _dump({"error": {"message": message, "type": kind, "param": None, "code": code}})

    VALIDATION = (
        "1 validation error:\n  {'type': 'int_parsing', 'loc': ('body', 'seed'), 'msg': 'Input should be an integer'}"
        '\n\n  File "/home/me/llama_cpp/server/app.py", line 376, in create_chat_completion\n    POST /v1/chat'
    )


class Ollama:
    """Ollama's `/v1`."""

    @staticmethod
    def whole(content: str, finish: str = "stop", **message: Any) -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
        usage = {"prompt_tokens": 26, "completion_tokens": 9, "total_tokens": 35}
        return _dump({"id": "chatcmpl-376", "system_fingerprint": "fp_ollama", "choices": [choice], "usage": usage})

    @staticmethod
    def stream(*deltas: dict[str, Any], finish: str = "stop") -> list[bytes]:
        of = {"id": "chatcmpl-376", "object": "chat.completion.chunk", "system_fingerprint": "fp_ollama"}
        usage = {"prompt_tokens": 26, "completion_tokens": 9, "total_tokens": 35}
        said = [{"role": "assistant", "content": "", **delta} for delta in deltas]
        return _chunks(of, said, finish, {"choices": [], "usage": usage})

    @staticmethod
    def error(message: str, kind: str = "invalid_request_error") -> bytes:
        return _dump({"error": {"message": message, "type": kind, "param": None, "code": None}})


class SGLang:
    """SGLang."""

    @staticmethod
    def whole(content: str | None, finish: str = "stop", **message: Any) -> bytes:
        said = {"role": "assistant", "content": content, "reasoning_content": None, **message}
        choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": finish, "matched_stop": 151645}
        usage = {"prompt_tokens": 26, "total_tokens": 35, "completion_tokens": 9, "prompt_tokens_details": None}
        return _dump({"id": "a1b2", "choices": [choice], "usage": usage, "metadata": {"weight_version": "default"}})

    @staticmethod
    def stream(*pieces: str, finish: str = "stop") -> list[bytes]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": one} for one in pieces)]
        usage = {"prompt_tokens": 26, "total_tokens": 35, "completion_tokens": 9}
        return _chunks({"id": "a1b2", "model": "slm"}, deltas, finish, {"choices": [], "usage": usage})

    @staticmethod
    def error(message: str, kind: str = "BadRequestError", code: int = 400) -> bytes:
        return _dump({"object": "error", "message": message, "type": kind, "param": None, "code": code})

    @staticmethod
    def error_event(message: str, kind: str = "INTERNAL_SERVER_ERROR", code: int = 500) -> bytes:
        return _dump({"error": json.loads(SGLang.error(message, kind, code))})
