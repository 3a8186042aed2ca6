"""Labelled calls, in files and as what is learned from them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from router.learning.evidence import Example
from router.learning.labelled import CalibrationTerms, read
from router.types import ChatCall, Endpoint
from server.endpoints.decode import decode as decode_body
from server.endpoints.registry import ENDPOINTS

TERMS = CalibrationTerms("auto", ("small",), "large")
REQUEST = {"messages": [{"role": "user", "content": "Is it spam?"}]}
YES_OR_NO = REQUEST | {"structured_outputs": {"choice": ["yes", "no"]}}


def decode(endpoint: Endpoint, body: bytes) -> ChatCall:
    return decode_body(ENDPOINTS[f"/v1/{endpoint.path}"], body)


def written(folder: Path, *lines: object, name: str = "calls.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return file


def said(content: str, *logprobs: float) -> dict[str, Any]:
    tokens = [{"token": "x", "bytes": None, "logprob": logprob, "top_logprobs": []} for logprob in logprobs]
    return {"message": {"content": content}, "logprobs": {"content": tokens} if tokens else None}


def line(answers: dict[str, Any], request: dict[str, Any] = REQUEST, **more: Any) -> dict[str, Any]:
    return {"request": request, "answers": answers, **more}


def example(
    tmp_path: Path, answers: dict[str, Any], request: dict[str, Any] = REQUEST, terms: CalibrationTerms = TERMS
) -> Example:
    [call] = read(written(tmp_path, line(answers, request)), terms, decode)
    return call.examples["small"]


def calls(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return calls of two tasks; of the hard one the small model fails at most, and is less sure where it does."""
    draw, lines = random.Random(seed), []
    for place in range(count):
        hard = place % 2
        right = draw.random() > (0.7 if hard else 0.1)
        small = {"quality": float(right), "logprob": -draw.random() * (0.2 if right else 3.0)}
        request = {"messages": [{"role": "user", "content": f"What is the sum of {place} and {draw.random()}?"}]}
        large = {"quality": 1, "usage": {"prompt_tokens": 9, "completion_tokens": 20}}
        lines.append(line({"small": small, "large": large}, request, task="hard" if hard else "easy"))
    return lines
