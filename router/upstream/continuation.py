"""The beginning of an answer as a part of the request that asks for the rest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from router.types import ChatCall


class Beginning(NamedTuple):
    """The beginning of an answer, with which the client cannot start anew."""

    text: str
    thoughts: str = ""
    """the model's reasoning before the text"""


def continued_prompt(call: ChatCall, beginning: Beginning) -> Mapping[str, Any] | None:
    """Return the prompt of a text completion with the beginning at its end; None if the prompt is token ids."""
    prompt = call.body.get(call.endpoint.prompt_field)
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        return None
    if not call.body.get("echo"):
        return {call.endpoint.prompt_field: prompt + beginning.text}
    if not beginning.text.startswith(prompt):
        return None
    return {call.endpoint.prompt_field: beginning.text, "echo": None}


def continued_messages(call: ChatCall, beginning: Beginning, *, joins: bool) -> list[Mapping[str, Any]] | None:
    """Return the messages with the beginning in a trailing assistant message.

    `joins`: the client's own trailing assistant message was continued, too, so the beginning belongs to it.
    """
    if call.body.get("echo"):
        return None
    messages: list[Mapping[str, Any]] = list(call.body["messages"])
    last = messages[-1]
    if joins and last["role"] == "assistant" and isinstance(last.get("content"), str) and not last.get("tool_calls"):
        return [*messages[:-1], {**last, "content": last["content"] + beginning.text}]
    thoughts = {"reasoning_content": beginning.thoughts} if beginning.thoughts else {}
    return [*messages, {"role": "assistant", "content": beginning.text, **thoughts}]
