"""What a call asks of a model beside plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from router.structured.request.output_format import FORMAT_FIELDS, format_fields
from router.types import Ability, ChatCall

_PARTS: Mapping[Any, Ability] = {"image_url": "image", "input_audio": "audio", "audio_url": "audio", "file": "file"}
_TELLING = frozenset({"tools", "functions", "logprobs", "modalities", *FORMAT_FIELDS})


def needs(call: ChatCall) -> frozenset[Ability]:
    """Return the abilities without which a model cannot serve the call."""
    endpoint, body = call.endpoint, call.body
    parts = _of_messages(endpoint.messages(body))
    if _TELLING.isdisjoint(body):
        return frozenset(parts) | endpoint.abilities if parts else endpoint.abilities
    more = _of_chat(body) if endpoint.takes_tools else _of_format(body) if endpoint.returns_choices else ()
    return frozenset([*parts, *more]) | endpoint.abilities


def _of_chat(body: Mapping[str, Any]) -> Iterator[Ability]:
    if (body.get("tools") and body.get("tool_choice") != "none") or (
        body.get("functions") and body.get("function_call") != "none"
    ):
        yield "tools"
    yield from _of_format(body)
    modalities = body.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        yield "audio"


def _of_messages(messages: Iterable[Mapping[str, Any]]) -> list[Ability]:
    return [
        _PARTS[part["type"]]
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
        if part["type"] in _PARTS
    ]


def _of_format(body: Mapping[str, Any]) -> Iterator[Ability]:
    if format_fields(body):
        yield "structured"
    logprobs = body.get("logprobs")
    if logprobs is not None and logprobs is not False:  # 0 asks for the logprob of each token that was taken
        yield "logprobs"
