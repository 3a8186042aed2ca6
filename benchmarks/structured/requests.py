"""Requests for a schema, and the parts of the gateway that plan and check them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from router.errors import BadRequest
from router.structured.constraint import Constraint
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import ChatCall
from server.endpoints.chat import CHAT_ENDPOINT
from server.endpoints.decode import decode

QUESTION = [{"role": "user", "content": "Give one example."}]


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `response_format` for a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def call_for(schema: Mapping[str, Any]) -> ChatCall:
    """Return a request for a schema, decoded as the gateway decodes it."""
    body = {"model": "m", "messages": QUESTION, "response_format": response_format(schema)}
    return decode(CHAT_ENDPOINT, json.dumps(body).encode())


def choice_of(text: str) -> dict[str, Any]:
    """Return a finished choice with this text."""
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}


@contextlib.asynccontextmanager
async def grammar_workers() -> AsyncIterator[GrammarWorkers]:
    """Yield the workers that ask the grammar backends, and close them at the end."""
    workers = GrammarWorkers()
    try:
        yield workers
    finally:
        await workers.close()


async def planned(planner: ConstraintCompiler, call: ChatCall) -> Constraint | None:
    """Return what the answer to a call must satisfy; None: its schema is refused."""
    try:
        return await planner.compile(call)
    except BadRequest:
        return None
