"""Small models that say how sure they are, and routes that listen to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from router.learning.calibration import Calibration, Isotonic
from router.learning.evidence import ALL_TASKS, Evidence, TaskAverages
from tests.support.fakes import (
    DONE,
    FakeExchange,
    answers,
    chunk,
    large,
    model,
    streams,
    usage_chunk,
    usage_of,
)
from tests.support.inprocess import Dispatching

SURE, UNSURE = -0.05, -2.0
"""summed logprobs: P is .95, and .14"""
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
STOP = chunk(finish="stop")


def said(text: str, logprob: float) -> dict[str, Any]:
    return {"content": [{"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}]}


def choice(text: str, logprob: float | None, index: int = 0, **message: Any) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": text, **message},
        "logprobs": None if logprob is None else said(text, logprob),
        "finish_reason": "stop",
    }


def whole(*choices: dict[str, Any]) -> Callable[[], FakeExchange]:
    body = json.dumps({"id": "x", "choices": choices, "usage": usage_of(10, 5)}).encode()
    return lambda: FakeExchange(body=body)


def sure(text: str = "Paris.") -> Callable[[], FakeExchange]:
    return whole(choice(text, SURE))


def unsure(text: str = "Rome?") -> Callable[[], FakeExchange]:
    return whole(choice(text, UNSURE))


def piece(text: str, logprob: float) -> bytes:
    part = {"index": 0, "delta": {"content": text}, "logprobs": said(text, logprob), "finish_reason": None}
    return json.dumps({"id": "x", "choices": [part]}).encode()


def telling(*pieces: tuple[str, float], then: Sequence[Any] = ([STOP], [usage_chunk(), DONE])) -> Any:
    return streams([*([piece(*one)] for one in pieces), *then])


def gateway(*small: Any, large_says: Any = None, **settings: Any) -> Dispatching:
    script = {"slm-0": list(small), "llm-0": [large_says or answers("From the large one.")]}
    return Dispatching(script=script, settings={"policy": "cascade", **settings})


def text_of(body: bytes) -> str:
    content: str = json.loads(body)["choices"][0]["message"]["content"]
    return content


def texts(events: Sequence[bytes]) -> str:
    parts = [part["delta"].get("content") or "" for event in events for part in json.loads(event)["choices"]]
    return "".join(parts)


def early(least: float, **settings: Any) -> dict[str, Any]:
    """Evidence by which the first two tokens tell all."""
    curve = Calibration(Isotonic((-2.0, 2.0), (0.0, 1.0)))
    evidence = Evidence(
        calibration=curve, beginnings=curve, beginning_tokens=2, tasks={ALL_TASKS: TaskAverages(0.0, [0.0])}
    )
    return {"evidence": {"slm": evidence}, "min_confidence": least, **settings}


def experts(*script: Any, **settings: Any) -> Dispatching:
    a, b, llm = model("a"), model("b"), large()
    return Dispatching(
        (a, b, llm), {"a-0": [script[0]], "b-0": [script[1]], "llm-0": [answers("From the large one.")]},
        settings={"policy": "cascade", "rungs": ((a, b), (llm,)), **settings},
    )  # fmt: skip


def knows(*gains: float) -> Evidence:
    return Evidence(
        calibration=Calibration(Isotonic((-2.0, 2.0), (0.0, 1.0))), tasks={ALL_TASKS: TaskAverages(0.0, gains)}
    )
