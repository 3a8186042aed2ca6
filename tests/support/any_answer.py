"""A scripted upstream that answers every request: as many choices as are wanted, in the format that is asked for.

It decodes as an engine does: a grammar says which bytes may come next, and the one that ends the answer soonest is
taken. So an error of the gateway is never due to a model that could not write what it was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper, grammar_from

from tests.support.behaviours import Behaviour, Call, error, respond, stream
from tests.support.stream_events import DONE, chunk, usage_event, usage_of

TEXT = "Paris."
MOST_BYTES = 2_000
FIRST, LAST = b'"}],01)>aA:{[.nft', b"-\\ \t\r\n"
"""bytes that end a part of an answer or begin a short one, and those that lead nowhere; all others are in between"""
RANK = {byte: place for place, byte in enumerate([*FIRST, *sorted({*range(256)} - {*FIRST, *LAST}), *LAST])}


class _Bytes:
    """A vocabulary with one token per byte."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"")
    special_token_ids = (eos_token_id,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


@lru_cache(maxsize=1)
def _tokenizer() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes()), slices=[])


async def answer_anything(call: Call) -> None:
    """Answer a chat or a completion, whole or streamed."""
    await _behaviour(call.json, is_chat="chat/completions" in call.path)(call)


def _behaviour(asked: Mapping[str, Any], *, is_chat: bool) -> Behaviour:
    try:
        text = text_for(asked)
        message = _message(asked, text) if is_chat else None
    except ValueError as fault:  # the request has a format that no engine takes, either
        return error(400, str(fault)[:200], kind="BadRequestError", code=400)
    usage = usage_of(10, 2)
    finish = "tool_calls" if message and "tool_calls" in message else "stop"
    if message and "function_call" in message:
        finish = "function_call"
    count = (asked.get("n") or 1) * _prompts(asked)
    if asked.get("stream"):
        said: dict[str, Any] = {"delta": _as_delta(message)} if message else {"text": text}
        events = [chunk([{"index": i, **said, "finish_reason": finish}]) for i in range(count)]
        return stream(*events, usage_event(usage), DONE)
    said = {"message": message} if message else {"text": text}
    choices = [{"index": i, **said, "logprobs": _logprobs(asked, text), "finish_reason": finish} for i in range(count)]
    whole = {"id": "answer-1", "object": "chat.completion" if is_chat else "text_completion", "created": 1_700_000_000}
    return respond(200, whole | {"model": asked.get("model"), "choices": choices, "usage": usage})


def text_for(asked: Mapping[str, Any]) -> str:
    """Return a short text in the format that a request asks for.

    Raises:
        ValueError: the format cannot be decoded.
    """
    wanted = asked.get("response_format") or {}
    if (kind := wanted.get("type")) in ("json_object", "json_schema"):
        schema = (wanted.get("json_schema") or {}).get("schema") if kind == "json_schema" else {"type": "object"}
        return _decoded("json_schema", json.dumps({} if schema is None else schema))
    outputs = asked.get("structured_outputs") or {}
    for name in ("json", "regex", "choice", "grammar"):
        if (value := outputs.get(name)) is not None:
            source = value if isinstance(value, str) else json.dumps(value)
            return _decoded("json_schema" if name == "json" else name, source)
    return "{}" if outputs.get("json_object") else TEXT


@lru_cache(maxsize=10_000)
def _decoded(kind: Any, source: str) -> str:
    matcher = LLMatcher(_tokenizer(), grammar_from(kind, source))
    text = bytearray()
    while not matcher.is_accepting() and len(text) < MOST_BYTES:
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        mask = matcher.compute_bitmask()
        allowed = [byte for byte in range(256) if mask[byte // 8] >> byte % 8 & 1]
        if not allowed:
            raise ValueError("nothing satisfies this format")
        byte = min(allowed, key=RANK.__getitem__)
        matcher.consume_token(byte)
        text.append(byte)
    if matcher.is_error():
        raise ValueError(matcher.get_error())
    return text.decode(errors="replace")


def _message(asked: Mapping[str, Any], text: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if name := _named(asked.get("tool_choice"), asked.get("tools")):
        function = {"name": name, "arguments": _arguments(name, asked["tools"])}
        return message | {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    if isinstance(choice := asked.get("function_call"), dict) and asked.get("functions"):
        tools = [{"function": one} for one in asked["functions"]]
        function = {"name": choice["name"], "arguments": _arguments(choice["name"], tools)}
        return message | {"content": None, "function_call": function}
    return message


def _named(choice: Any, tools: Any) -> str | None:
    """Return the name of the tool that has to be called, if one has."""
    if not tools:
        return None
    if choice == "required":
        return str(tools[0]["function"]["name"])
    named = choice.get("function") if isinstance(choice, dict) else None
    return str(named["name"]) if named else None


def _arguments(name: str, tools: Any) -> str:
    schema = next((one["function"].get("parameters") for one in tools if one["function"]["name"] == name), None)
    return _decoded("json_schema", json.dumps({"type": "object", **(schema or {})}))


def _as_delta(message: dict[str, Any]) -> dict[str, Any]:
    if "tool_calls" not in message:
        return message
    return message | {"tool_calls": [{"index": i, **one} for i, one in enumerate(message["tool_calls"])]}


def _prompts(asked: Mapping[str, Any]) -> int:
    prompt = asked.get("prompt")
    return len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1


def _logprobs(asked: Mapping[str, Any], text: str) -> dict[str, Any] | None:
    if asked.get("logprobs") in (None, False):
        return None
    if "messages" in asked:
        token = {"token": text, "logprob": -0.01, "bytes": list(text.encode()), "top_logprobs": []}
        return {"content": [token], "refusal": None}
    return {"tokens": [text], "token_logprobs": [-0.01], "top_logprobs": None, "text_offset": [0]}
