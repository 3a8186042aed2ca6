"""One chat request, read from OpenAI's JSON. Pure.

The gateway has checked the fields of OpenAI's API. What reaches a model is checked again, as other programs may ask.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .calls import RequiredCalls, shown_tools
from .errors import RequestError, unsupported_format

FIELDS = frozenset(
    {
        "chat_template_kwargs",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "min_p",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "repetition_penalty",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "structured_outputs",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)
"""the fields that are read; the gateway's dialect removes all others and says so"""
MAX_CHOICES = 128
MAX_STOP_STRINGS = 16
MAX_TOP_LOGPROBS = 20
SEEDS = 2**63


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. None: the model's own default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True)
class OutputFormat:
    """A format that decoding enforces: a JSON schema, or what `structured_outputs` names."""

    kind: str
    source: str
    param: str


@dataclass(frozen=True)
class ChatRequest:
    """A valid request."""

    messages: Sequence[Mapping[str, Any]]
    """as chat templates expect them: texts, and the arguments of calls as objects"""
    tools: Sequence[Mapping[str, Any]] | None
    """for the chat template"""
    template_options: Mapping[str, Any]
    sampling: Sampling
    max_tokens: int | None
    choices: int
    stop: Sequence[str]
    top_logprobs: int | None
    """how many alternatives to report for each token; None: no logprobs at all"""
    stream: bool
    include_usage: bool
    output_format: OutputFormat | None
    calls: RequiredCalls | None


def parse(body: Mapping[str, Any]) -> ChatRequest:
    """Read a request.

    Raises:
        RequestError: a field is invalid.
    """
    calls = RequiredCalls.of(body)
    limit = body.get("max_completion_tokens")
    top_logprobs = _integer(body, "top_logprobs", 0, MAX_TOP_LOGPROBS)
    return ChatRequest(
        messages=[_message(message, f"messages[{i}]") for i, message in enumerate(_list(body, "messages"))],
        tools=shown_tools(body),
        template_options=_mapping(body, "chat_template_kwargs"),
        sampling=_sampling(body),
        max_tokens=_integer(body, "max_tokens" if limit is None else "max_completion_tokens", 1),
        choices=_integer(body, "n", 1, MAX_CHOICES) or 1,
        stop=_stop(body.get("stop")),
        top_logprobs=(top_logprobs or 0) if body.get("logprobs") is True else None,
        stream=body.get("stream") is True,
        include_usage=_mapping(body, "stream_options").get("include_usage") is True,
        # a required call is the whole answer, so there is no text that could have a format
        output_format=None if calls else _output_format(body),
        calls=calls,
    )


def _sampling(body: Mapping[str, Any]) -> Sampling:
    bias = {}
    for token, value in _mapping(body, "logit_bias").items():
        if not token.isdecimal() or not _is_number(value):
            raise _expected("logit_bias", "token ids with a number each")
        bias[int(token)] = float(value)
    return Sampling(
        temperature=_number(body, "temperature", 0, 100),
        top_p=_number(body, "top_p", 0, 1),
        top_k=_integer(body, "top_k", -1),
        min_p=_number(body, "min_p", 0, 1),
        repetition_penalty=_number(body, "repetition_penalty", 0.01, 100),
        presence_penalty=_number(body, "presence_penalty", -100, 100) or 0.0,
        frequency_penalty=_number(body, "frequency_penalty", -100, 100) or 0.0,
        logit_bias=bias,
        seed=_integer(body, "seed", -SEEDS, SEEDS - 1),
    )


def _output_format(body: Mapping[str, Any]) -> OutputFormat | None:
    """Read `response_format`, or else `structured_outputs`."""
    if asked := _mapping(body, "response_format"):
        kind = asked.get("type")
        if kind == "text":
            return None
        if kind == "json_object":
            return OutputFormat("json_schema", '{"type": "object"}', "response_format")
        schema = asked.get("json_schema")
        if kind != "json_schema" or not isinstance(schema, Mapping) or "schema" not in schema:
            raise unsupported_format("Expected a json_schema, a json_object or text.", "response_format")
        return OutputFormat("json_schema", json.dumps(schema["schema"]), "response_format")
    named = [(kind, value) for kind, value in _mapping(body, "structured_outputs").items() if value is not None]
    if not named:
        return None
    if len(named) != 1 or named[0][0] not in ("choice", "regex", "grammar"):
        raise unsupported_format("Expected one choice, regex or grammar.", "structured_outputs")
    kind, value = named[0]
    return OutputFormat(kind, value if isinstance(value, str) else json.dumps(value), "structured_outputs")


def _message(value: object, at: str) -> Mapping[str, Any]:
    """Return a message in the form that chat templates expect."""
    if not isinstance(value, Mapping) or not isinstance(value.get("role"), str):
        raise _expected(at, "an object with a role")
    message = dict(value)
    if isinstance(message.get("content"), list):
        message["content"] = "".join(_text_part(part, f"{at}.content") for part in message["content"])
    if message.get("tool_calls"):
        message["tool_calls"] = [_call(call, f"{at}.tool_calls") for call in message["tool_calls"]]
    return message


def _text_part(part: object, at: str) -> str:
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise _expected(at, "text or parts of text: the model reads no other input")


def _call(call: object, at: str) -> Mapping[str, Any]:
    """Return an earlier call with its arguments as an object, which templates write in their own way."""
    if not isinstance(call, Mapping) or not isinstance(call.get("function"), Mapping):
        raise _expected(at, "calls of functions")
    function = call["function"]
    arguments = function.get("arguments") or "{}"
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            raise _expected(f"{at}.function.arguments", "JSON") from None
    return {"type": "function", "id": call.get("id"), "function": {**function, "arguments": arguments}}


def _stop(value: object) -> Sequence[str]:
    stops = [value] if isinstance(value, str) else value or []
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise _expected("stop", "text or a list of texts")
    if len(stops) > MAX_STOP_STRINGS:
        raise _expected("stop", f"at most {MAX_STOP_STRINGS} texts")
    return stops


def _number(body: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if not _is_number(value) or not low <= value <= high:
        raise _expected(name, f"a number from {low:g} to {high:g}")
    return float(value)


def _integer(body: Mapping[str, Any], name: str, low: int, high: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        raise _expected(name, f"a whole number from {low}" + ("" if high is None else f" to {high}"))
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _mapping(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise _expected(name, "an object")
    return value or {}


def _list(body: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = body.get(name)
    if not isinstance(value, list) or not value:
        raise _expected(name, "a list that is not empty")
    return value


def _expected(param: str, what: str) -> RequestError:
    return RequestError(f"Invalid value for '{param}': expected {what}.", param=param)
