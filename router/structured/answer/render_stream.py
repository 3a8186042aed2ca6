"""Renders a held answer that the check has changed as stream events. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from router.errors import StructuredOutputViolation
from router.messages.answer import write
from router.messages.openai_form import REASONING

_TEXTS = (REASONING, "content", "refusal")
_OF_MESSAGE = frozenset({"role", "tool_calls", "function_call", *_TEXTS})
_OF_CALL = frozenset({"index", "id", "type", "function"})
_OF_FUNCTION = frozenset({"name", "arguments"})
_OF_CHUNK = frozenset({"choices", "usage"})
_OF_CHOICE = frozenset({"index", "message", "text", "finish_reason", "logprobs"})


def render_stream(
    choices: Sequence[Mapping[str, Any]],
    sent: Sequence[Mapping[str, Any]],
    frame: Mapping[str, Any],
    held: Sequence[bytes] = (),
) -> list[bytes]:
    """Return the events for the rest of the choices, after what the client was already `sent`.

    `frame` contains the fields that all chunks of the stream share (id, object, created, model). `held` are the events
    that are rendered anew: what else they have beside their choices goes into the first one.

    Raises:
        StructuredOutputViolation: what was sent is not a prefix of the choices.
    """
    sent_by_index = {choice["index"]: choice for choice in sent}
    rendered = [
        {**frame, "choices": [{"index": choice["index"], "logprobs": None, **part}]}
        for choice in choices
        for part in _deltas(choice, sent_by_index.get(choice["index"], {}))
    ]
    others = {name: value for event in held for name, value in json.loads(event).items() if name not in _OF_CHUNK}
    return [write(others | chunk) if at == 0 else write(chunk) for at, chunk in enumerate(rendered)]


def _deltas(choice: Mapping[str, Any], sent: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if sent.get("finish_reason"):
        return
    last = {"finish_reason": choice["finish_reason"], **_unsent(choice, sent, _OF_CHOICE)}
    if "message" not in choice:
        yield {"text": _rest(choice.get("text"), sent.get("text")), **last}
        return
    message, sent_message = choice["message"], sent.get("message", {})
    if not sent_message:
        yield {"delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    if more := _unsent(message, sent_message, _OF_MESSAGE):
        yield {"delta": more, "finish_reason": None}
    for key in _TEXTS:
        if key == REASONING and not message.get(key):
            continue  # it was moved to the content; what was sent of it stays
        if rest := _rest(message.get(key), sent_message.get(key)):
            yield {"delta": {key: rest}, "finish_reason": None}
    calls, sent_calls = message.get("tool_calls") or (), sent_message.get("tool_calls") or ()
    if len(sent_calls) > len(calls):
        raise _too_late()
    for index, call in enumerate(calls):
        if delta := _call_delta(call, sent_calls[index] if index < len(sent_calls) else None):
            yield {"delta": {"tool_calls": [{"index": index, **delta}]}, "finish_reason": None}
    if (legacy := message.get("function_call")) and (
        delta := _function_delta(legacy, sent_message.get("function_call"))
    ):
        yield {"delta": {"function_call": delta}, "finish_reason": None}
    yield {"delta": {}, **last}


def _call_delta(call: Mapping[str, Any], sent: Mapping[str, Any] | None) -> dict[str, Any]:
    if sent is None:
        return dict(call)
    if call["id"] != sent["id"]:
        raise _too_late()
    changed_type = {} if sent.get("type") == call.get("type") else {"type": call["type"]}
    rest = _function_delta(call["function"], sent["function"])
    return changed_type | _unsent(call, sent, _OF_CALL) | ({"function": rest} if rest else {})


def _function_delta(function: Mapping[str, Any], sent: Mapping[str, Any] | None) -> dict[str, Any]:
    if sent is None:
        return dict(function)
    if function["name"] != sent["name"]:
        raise _too_late()
    rest = _rest(function["arguments"], sent["arguments"])
    return _unsent(function, sent, _OF_FUNCTION) | ({"arguments": rest} if rest else {})


def _unsent(whole: Mapping[str, Any], sent: Mapping[str, Any], read: frozenset[str]) -> dict[str, Any]:
    """Return the fields that are unknown here, as far as they were not sent: of a list, only the rest."""
    rest = {}
    for name in whole.keys() - read:
        value, before = whole[name], sent.get(name)
        if isinstance(value, list) and isinstance(before, list):
            value = value[len(before) :]
            if not value:
                continue
        if value is not None and value != before:
            rest[name] = value
    return rest


def _rest(text: object, sent: object) -> str:
    whole, start = str(text or ""), str(sent or "")
    if not whole.startswith(start):
        raise _too_late()
    return whole[len(start) :]


def _too_late() -> StructuredOutputViolation:
    return StructuredOutputViolation("The answer could have been repaired, but its beginning was already sent.")
