"""An engine whose answers are known, and whose streams are cut: what it says from the start, or from a beginning."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

FRAME = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "slm"}
OTHER_FRAME = {
    "id": "chatcmpl-2",
    "object": "chat.completion.chunk",
    "created": 2,
    "model": "b",
    "system_fingerprint": "y",
}


def event(part: Mapping[str, Any], frame: Mapping[str, Any] = FRAME) -> bytes:
    """One event with one part of choice 0."""
    return json.dumps({**frame, "choices": [{"index": 0, "finish_reason": None, **part}]}).encode()


def delta(frame: Mapping[str, Any] = FRAME, **fields: Any) -> bytes:
    return event({"delta": fields}, frame)


def usage(prompt: int, completion: int, frame: Mapping[str, Any] = FRAME) -> bytes:
    counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return json.dumps({**frame, "choices": [], "usage": counted}).encode()


def deltas(pieces: Iterable[Mapping[str, Any]], finish: str = "stop", frame: Mapping[str, Any] = FRAME) -> list[bytes]:
    """The events of a whole answer: role, one event a piece, finish_reason."""
    first = delta(frame, role="assistant", content="")
    return [
        first,
        *(event({"delta": piece}, frame) for piece in pieces),
        event({"delta": {}, "finish_reason": finish}, frame),
    ]


def call_piece(index: int, arguments: str, name: str | None = None, call_id: str = "a") -> dict[str, Any]:
    """A piece of a tool call; with a name it is the first one."""
    head = {} if name is None else {"id": f"{call_id}-{index}", "type": "function"}
    function = {"arguments": arguments} | ({} if name is None else {"name": name})
    return {"tool_calls": [{"index": index, **head, "function": function}]}


def assembled(events: Iterable[bytes]) -> dict[str, Any]:
    """What a strict client makes of a stream. It has one role, one finish_reason and one frame."""
    told: dict[str, Any] = {"content": "", "thoughts": "", "calls": {}, "roles": 0, "finish": [], "usages": []}
    frames = set()
    for raw in events:
        chunk = json.loads(raw)
        frames.add(json.dumps({name: chunk.get(name) for name in (*FRAME, "system_fingerprint")}, sort_keys=True))
        if chunk.get("usage"):
            told["usages"].append(chunk["usage"])
        for part in chunk["choices"]:
            assert not told["finish"], "nothing follows the finish_reason"
            piece = part.get("delta") or {}
            told["roles"] += "role" in piece
            told["content"] += piece.get("content") or part.get("text") or ""
            told["thoughts"] += piece.get("reasoning_content") or piece.get("reasoning") or ""
            for call in piece.get("tool_calls") or ():
                known = told["calls"].setdefault(call["index"], {"id": [], "name": [], "arguments": ""})
                known["id"] += [call["id"]] if "id" in call else []
                function = call.get("function") or {}
                known["name"] += [function["name"]] if "name" in function else []
                known["arguments"] += function.get("arguments") or ""
            told["finish"] += [part["finish_reason"]] if part.get("finish_reason") else []
    assert len(frames) == 1, f"id, created and model stay the first's: {frames}"
    return told


def split_at(text: str, places: Sequence[int]) -> list[str]:
    """Cut a text at these places (taken modulo its length); no piece is empty."""
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(bounds)]
