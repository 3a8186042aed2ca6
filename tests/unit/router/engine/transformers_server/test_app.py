"""The HTTP side of the transformers server, with a model that does what the test says."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from router.engine.transformers_server import app as module
from router.engine.transformers_server.app import App
from router.engine.transformers_server.errors import RequestError
from router.engine.transformers_server.events import Event, Finished, Token
from tests.support.waiting import PATIENCE_S

MESSAGES = [{"role": "user", "content": "x"}]


class ScriptedModel:
    """Writes one token whenever the test says so, and ends when the test says so or nobody waits any more."""

    def __init__(self) -> None:
        self.working: list[str] = []
        """what was begun: the first message of each request"""
        self.cancelled: list[str] = []
        self.steps = threading.Semaphore(0)
        self.tokens = 2
        self.fault: Exception | None = None
        self.is_working = True
        self.ignores_cancelling = False

    def prompt(self, request: Any) -> Any:
        if request.messages[0]["content"] == "too long":
            raise RequestError("The context has 1 token.", code="context_length_exceeded")
        if request.messages[0]["content"] == "odd":
            raise LookupError("no such token")
        return SimpleNamespace(request=request, tokens=[1, 2, 3])

    def generate(self, prompt: Any, emit: Callable[[Event], None], cancelled: Callable[[], bool]) -> None:
        name = prompt.request.messages[0]["content"]
        self.working.append(name)
        for number in range(self.tokens):
            while not self.steps.acquire(timeout=0.01):
                if cancelled() and not self.ignores_cancelling:
                    self.cancelled.append(name)
                    return
            if self.fault and number == self.tokens - 1:
                raise self.fault
            emit(Token(0, f"{number} "))
        emit(Finished(0, "", "stop", self.tokens))

    def works(self) -> bool:
        return self.is_working

    def step(self, count: int = 1) -> None:
        self.steps.release(count)


@dataclass
class Request:
    """One HTTP request to the application."""

    subject: App
    path: str = "/v1/chat/completions"
    method: str = "POST"
    content: bytes = b""
    sent: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._left = asyncio.Event()
        self._read = False
        self.task = asyncio.create_task(
            self.subject({"type": "http", "method": self.method, "path": self.path}, self._receive, self._send)
        )

    async def _receive(self) -> dict[str, Any]:
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self.content, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        self.changed.set()

    def leave(self) -> None:
        self._left.set()

    async def until(self, messages: int) -> None:
        while len(self.sent) < messages:
            self.changed.clear()
            await self.changed.wait()

    async def answer(self) -> tuple[int, Any]:
        """Wait for the end; return the status, and the JSON or the events of the body."""
        await self.task
        body = b"".join(message.get("body", b"") for message in self.sent[1:])
        if body.startswith(b"data: "):
            return self.sent[0]["status"], [part[6:] for part in body.decode().split("\n\n") if part]
        return self.sent[0]["status"], json.loads(body)


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel()


@pytest.fixture
async def subject(model: ScriptedModel) -> AsyncIterator[App]:
    async with asyncio.timeout(PATIENCE_S):
        yield App(model, "tiny", PATIENCE_S)
        model.ignores_cancelling = False
        model.step(1000)


def ask(subject: App, name: str = "x", **fields: Any) -> Request:
    body = {"messages": [{"role": "user", "content": name}]} | fields
    return Request(subject, content=json.dumps(body).encode())


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what is awaited happens in another thread
        await asyncio.sleep(0.005)


async def test_a_whole_answer(subject: App, model: ScriptedModel) -> None:
    model.step(2)
    status, body = await ask(subject).answer()
    assert status == 200
    assert body["model"] == "tiny"
    assert body["choices"][0]["message"]["content"] == "0 1 "
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


async def test_a_stream_flows_while_it_is_generated(subject: App, model: ScriptedModel) -> None:
    request = ask(subject, stream=True, stream_options={"include_usage": True})
    model.step()
    await request.until(2)
    assert b'"content":"0 "' in request.sent[1]["body"]
    assert len(request.sent) == 2, "the second token is not there yet"
    model.step()
    status, events = await request.answer()
    assert status == 200
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 2
    assert json.loads(events[-3])["choices"][0]["finish_reason"] == "stop"


async def test_a_stream_without_usage(subject: App, model: ScriptedModel) -> None:
    model.step(2)
    _, events = await ask(subject, stream=True).answer()
    assert not any("usage" in event for event in events)


async def test_the_second_request_waits_for_the_first(subject: App, model: ScriptedModel) -> None:
    first, second, third = ask(subject, "first"), ask(subject, "second"), ask(subject, "third")
    await until(lambda: model.working)
    model.step(2)
    assert (await first.answer())[0] == 200
    await until(lambda: len(model.working) == 2)
    assert not second.sent
    assert not third.sent
    model.step(4)
    await second.answer()
    await third.answer()
    assert model.working == ["first", "second", "third"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_ends_when_its_client_leaves(subject: App, model: ScriptedModel, stream: bool) -> None:
    request = ask(subject, "left", stream=stream)
    model.step()
    if stream:
        await request.until(2)
    await until(lambda: model.working)
    request.leave()
    await request.task
    await until(lambda: model.cancelled == ["left"])
    model.step(2)
    assert (await ask(subject, "next").answer())[0] == 200


async def test_a_client_that_leaves_the_queue_costs_nothing(subject: App, model: ScriptedModel) -> None:
    first = ask(subject, "first")
    await until(lambda: model.working)
    second = ask(subject, "second")
    await asyncio.sleep(0)
    second.leave()
    await second.task
    assert not second.sent
    model.step(2)
    assert (await first.answer())[0] == 200
    await until(lambda: model.cancelled == ["second"])


async def test_a_request_that_waits_too_long_is_one_too_many(model: ScriptedModel) -> None:
    subject = App(model, "tiny", 0.05)
    first = ask(subject, "first")
    await until(lambda: model.working)
    status, body = await ask(subject, "second").answer()
    assert (status, body["error"]["code"]) == (503, "overloaded")
    model.step(2)
    assert (await first.answer())[0] == 200
    await until(lambda: model.cancelled == ["second"])


async def test_a_fault_is_an_error_of_openais_form(subject: App, model: ScriptedModel) -> None:
    model.fault = ValueError("nan")
    model.step(2)
    status, body = await ask(subject).answer()
    assert status == 500
    assert body["error"] == {
        "message": "ValueError: nan",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }


async def test_a_fault_within_a_stream_ends_it_without_done(subject: App, model: ScriptedModel) -> None:
    model.fault = ValueError('"nan"')
    model.step(2)
    status, events = await ask(subject, stream=True).answer()
    assert status == 200
    assert json.loads(events[-1])["error"]["message"] == 'ValueError: "nan"'
    assert "[DONE]" not in events


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b'{"messages": []}', 400, "invalid_value"),
        (b'{"messages": [{"role": "user", "content": "too long"}]}', 400, "context_length_exceeded"),
        (b'{"messages": [{"role": "user", "content": "odd"}]}', 500, "internal_error"),
    ],
)
async def test_requests_that_never_reach_the_model(
    subject: App, model: ScriptedModel, content: bytes, status: int, code: str
) -> None:
    got, body = await Request(subject, content=content).answer()
    assert (got, body["error"]["code"]) == (status, code)
    assert not model.working


async def test_unknown_paths(subject: App) -> None:
    status, body = await Request(subject, path="/v1/completions").answer()
    assert (status, body["error"]["code"]) == (404, "not_found")
    assert (await Request(subject, method="GET").answer())[0] == 404


async def healthy(subject: App) -> bool:
    return (await Request(subject, path="/health", method="GET").answer())[0] == 200


async def test_health(subject: App, model: ScriptedModel) -> None:
    assert await healthy(subject)
    request = ask(subject)
    await until(lambda: model.working)
    assert await healthy(subject), "work is no illness"
    model.step(2)
    await request.answer()


async def test_a_model_that_works_on_for_nobody_is_stuck(
    subject: App, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.ignores_cancelling = True
    request = ask(subject)
    await until(lambda: model.working)
    request.leave()
    await request.task
    assert await healthy(subject), "it may still notice"
    monkeypatch.setattr(module, "STUCK_S", -1.0)
    assert not await healthy(subject)
    model.step(2)
    await until(lambda: subject._current is None)
    assert await healthy(subject)


async def test_a_device_that_no_longer_works_is_told(subject: App, model: ScriptedModel) -> None:
    model.fault, model.is_working = RuntimeError("CUDA error"), False
    model.step(2)
    assert (await ask(subject).answer())[0] == 500
    assert not await healthy(subject)
