"""A held answer that was changed by its check, told as a stream again. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from router.errors import StructuredOutputViolation
from router.messages.answer import write

_TEXTS = ("reasoning_content", "reasoning", "content", "refusal")


def render_stream(
    choices: Sequence[Mapping[str, Any]], left: Sequence[Mapping[str, Any]], frame: Mapping[str, Any]
) -> list[bytes]:
    """Return the events that tell the choices, less what of them has `left` already.

    `frame` holds what all chunks of the stream share (id, object, created, model).

    Raises:
        StructuredOutputViolation: what has left is no beginning of what would have to be told.
    """
    before = {choice["index"]: choice for choice in left}
    return [
        write({**frame, "choices": [{"index": choice["index"], "logprobs": None, **part}]})
        for choice in choices
        for part in _parts(choice, before.get(choice["index"], {}))
    ]


def _parts(choice: Mapping[str, Any], left: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if left.get("finish_reason"):
        return
    finish = choice["finish_reason"]
    if "message" not in choice:
        yield {"text": _rest(choice.get("text"), left.get("text")), "finish_reason": finish}
        return
    message, gone = choice["message"], left.get("message", {})
    if not gone:
        yield {"delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    for key in _TEXTS:
        if rest := _rest(message.get(key), gone.get(key)):
            yield {"delta": {key: rest}, "finish_reason": None}
    calls, told = message.get("tool_calls") or (), gone.get("tool_calls") or ()
    if len(told) > len(calls):
        raise _too_late()
    for index, call in enumerate(calls):
        if delta := _call(call, told[index] if index < len(told) else None):
            yield {"delta": {"tool_calls": [{"index": index, **delta}]}, "finish_reason": None}
    if (legacy := message.get("function_call")) and (delta := _function(legacy, gone.get("function_call"))):
        yield {"delta": {"function_call": delta}, "finish_reason": None}
    yield {"delta": {}, "finish_reason": finish}


def _call(call: Mapping[str, Any], gone: Mapping[str, Any] | None) -> dict[str, Any]:
    if gone is None:
        return dict(call)
    if call["id"] != gone["id"]:
        raise _too_late()
    late = {} if gone.get("type") == call.get("type") else {"type": call["type"]}
    rest = _function(call["function"], gone["function"])
    return late | ({"function": rest} if rest else {})


def _function(function: Mapping[str, Any], gone: Mapping[str, Any] | None) -> dict[str, Any]:
    if gone is None:
        return dict(function)
    if function["name"] != gone["name"]:
        raise _too_late()
    rest = _rest(function["arguments"], gone["arguments"])
    return {"arguments": rest} if rest else {}


def _rest(text: object, gone: object) -> str:
    whole, begun = str(text or ""), str(gone or "")
    if not whole.startswith(begun):
        raise _too_late()
    return whole[len(begun) :]


def _too_late() -> StructuredOutputViolation:
    return StructuredOutputViolation("The answer could have been repaired, but its beginning had left already.")
