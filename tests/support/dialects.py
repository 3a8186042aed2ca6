"""One model of an engine, asked through a whole dispatch: what it is sent, and what the client gets."""

from __future__ import annotations

import json
from typing import Any

from router.errors import ApiError
from tests.support.fakes import FakeExchange, large, model
from tests.support.inprocess import Dispatching


class Asked:
    """Asks a small model of `engine`, which answers with these bytes, events or errors; behind it is a large one."""

    def __init__(self, engine: str, *answers: Any, alone: bool = True, **entry: Any) -> None:
        slm = model(engine=engine, context=2048, **entry)
        script = [lambda answer=answer: _exchange(answer) for answer in answers]
        self.dispatching = Dispatching((slm,) if alone else (slm, large()), {"slm-0": script})

    async def ask(self, **fields: Any) -> dict[str, Any]:
        """Return the whole answer."""
        [body] = await self.dispatching.ask(**fields)
        answer: dict[str, Any] = json.loads(body)
        return answer

    async def stream(self, **fields: Any) -> list[dict[str, Any]]:
        """Return the events."""
        return [json.loads(event) for event in await self.dispatching.ask(stream=True, **fields)]

    async def refused(self, error: type[ApiError], **fields: Any) -> ApiError:
        """Return the error that the client gets."""
        return await self.dispatching.fails(error, **fields)

    def sent(self, *names: str) -> dict[str, Any]:
        """Return these fields of the last request that the model was sent; missing ones are left out."""
        body = [one.body for one in self.dispatching.upstream.sent if "slm" in one.url][-1]
        return {name: body[name] for name in names if name in body} if names else body

    @property
    def said(self) -> dict[str, str]:
        """The `x-smallfirst-*` headers."""
        return self.dispatching.headers


def _exchange(answer: Any) -> FakeExchange:
    if isinstance(answer, tuple):
        status, body = answer
        return FakeExchange(status=status, body=body)
    return FakeExchange(body=answer) if isinstance(answer, bytes) else FakeExchange(steps=[[one] for one in answer])


def text_of(events: list[dict[str, Any]]) -> str:
    """Return the content of a stream."""
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)
