"""The stages of a request's path through the gateway, each to be run by itself: design.md, section 2."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Literal

import msgspec
from starlette.types import Message, Receive, Scope, Send

from benchmarks.overhead.inprocess import (
    PATH,
    DiscardingProtocol,
    FakeUpstream,
    InProcessGateway,
    InstantUpstream,
    ReplayedEvents,
)
from router.dispatcher import Dispatcher
from router.messages import strict_json
from router.messages.answer import StreamReader, parse_whole
from router.messages.usage import read_usage
from router.policy.base import Situation
from router.policy.heuristic import Heuristic
from router.record import RequestRecord
from router.structured.answer.check import check_choice
from router.structured.constraint import Constraint
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import ChatCall, Reply
from router.upstream.dialects import DIALECTS
from server.admission import Admission
from server.auth import Keyring
from server.endpoints.chat import CHAT_ENDPOINT
from server.endpoints.decode import decode
from server.endpoints.schemas import ChatRequest
from server.http.middleware import RequestMiddleware, read_body
from server.http.relay import relay
from server.observability.access_log import MAX_PENDING, AccessLog
from server.observability.metrics import Metrics

Run = Callable[[int], Awaitable[None]]
"""runs a stage this number of times"""
Kind = Literal["stage", "part", "harness", "whole"]
LONG_S = 60.0

WHOLE = "the whole request"
CLIENT_SIDE, UPSTREAM_SIDE = "event loop, client's side", "event loop, upstream's side"
_STUB, _RECORD, _COPY = "stub of an endpoint", "a record", "a record's copy"


@dataclass(frozen=True, slots=True)
class Stage:
    """One thing to run.

    A `part` belongs to the stage before it, or replaces it. `harness` is what only this benchmark needs; it is
    subtracted.
    """

    name: str
    run: Run
    less: tuple[str, ...] = ()
    """what runs along with it, and is subtracted"""
    kind: Kind = "stage"
    times: int = 1
    """how often to run it in a row, if not every run costs the same"""


@dataclass(frozen=True, slots=True)
class _Dispatched:
    """The result of a dispatch: its record, the reply, and the messages that the relay made of it."""

    call: ChatCall
    unbilled: RequestRecord
    record: RequestRecord
    body: bytes
    batches: Sequence[Any]
    messages: Sequence[Message]

    async def relay(self, send: Send) -> RequestRecord:
        """Relay the reply once more."""
        record = copy(self.unbilled)  # each relay computes the cost
        await relay(
            Reply(body=self.body, events=ReplayedEvents(self.batches) if self.call.stream else None), record, send
        )
        return record

    async def stub(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the endpoint did, without doing its work."""
        await read_body(receive)
        for message in self.messages:
            await send(message)


async def request_path(gateway: InProcessGateway) -> list[Stage]:
    """Return the stages of a gateway's request in their order, and the whole request last."""
    call = decode(CHAT_ENDPOINT, gateway.body)
    script = gateway.scenario.script
    answer = InstantUpstream(*((b"", script.events()) if script.stream else (script.whole(), ())))
    workers = GrammarWorkers()
    dispatcher = Dispatcher(
        gateway.config,
        gateway.resources.policies,
        gateway.resources.fleet.pools,
        answer,
        gateway.resources.fleet.profiles,
        workers,
    )
    planner = ConstraintCompiler(workers)
    dispatched = await _dispatch(dispatcher, call)
    return [
        *_arrival(gateway, dispatched),
        *_decision(gateway, call, planner),
        *_answer(gateway, call, dispatcher, await planner.compile(call), workers),
        *_departure(gateway, dispatched),
        *_loop(gateway),
        Stage(WHOLE, _awaited(gateway.client.ask), kind="whole", times=MAX_PENDING),
    ]


async def _dispatch(dispatcher: Dispatcher, call: ChatCall) -> _Dispatched:
    route, unbilled = dispatcher.route(call.model), _new_record()
    unbilled.endpoint, unbilled.route, unbilled.stream = call.endpoint.path, route.name, call.stream
    async with dispatcher.dispatch(call, route, unbilled) as reply:
        body, batches = reply.body, [] if reply.events is None else [batch async for batch in reply.events]
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    dispatched = _Dispatched(call, unbilled, unbilled, body, batches, messages)
    record = await dispatched.relay(keep)
    record.outcome, record.finished = "ok", monotonic()
    return replace(dispatched, record=record)


def _arrival(gateway: InProcessGateway, dispatched: _Dispatched) -> list[Stage]:
    async def receive() -> Message:
        return {"type": "http.request", "body": gateway.body, "more_body": False}

    async def admit() -> None:
        async with admission:
            pass

    settings, body = gateway.settings, strict_json.decode(gateway.body)
    scope = _scope(gateway)
    protocol = gateway.connect(dispatched.stub)
    middleware = RequestMiddleware(dispatched.stub, max_body_bytes=2**24, on_finish=lambda *_: None)
    keyring = Keyring(settings.api_keys)
    fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
    admission = Admission(*settings.slots(0), settings.queue_timeout_s)
    return [
        Stage("uvicorn's protocol", _awaited(protocol.ask), (_STUB, CLIENT_SIDE)),
        Stage("middleware", _awaited(lambda: middleware(scope, receive, _send)), (_STUB,)),
        Stage("auth", _called(lambda: keyring.check(gateway.headers))),
        Stage("decode", _called(lambda: decode(CHAT_ENDPOINT, gateway.body))),
        Stage("JSON", _called(lambda: strict_json.decode(gateway.body)), kind="part"),
        Stage("fields", _called(lambda: fields.decode(gateway.body)), kind="part"),
        Stage("validation", _called(lambda: ChatRequest.__pydantic_validator__.validate_python(body)), kind="part"),
        Stage("admission", _awaited(admit)),
        Stage(_STUB, _awaited(lambda: dispatched.stub(scope, receive, _send)), kind="harness"),
    ]


def _decision(gateway: InProcessGateway, call: ChatCall, planner: ConstraintCompiler) -> list[Stage]:
    route, policies = gateway.config.routes[call.model], gateway.resources.policies
    model = route.ladder[0]
    pool, dialect = gateway.resources.fleet.pools[model.name], DIALECTS[model.engine]

    def lease() -> None:
        pool.acquire(monotonic(), tried=[], last_resort=False).release(monotonic(), "good")

    return [
        Stage("plan", _awaited(lambda: planner.compile(call))),
        Stage("policy", _called(lambda: policies.of(route, call).decide(Situation(call, route.rungs)))),
        Stage("instead: heuristic", _called(lambda: Heuristic(0.5).decide(Situation(call, route.rungs))), kind="part"),
        Stage("acquire and release", _called(lease)),
        Stage("dialect", _called(lambda: msgspec.json.encode(dialect.body(call, model)[0]))),
    ]


def _answer(
    gateway: InProcessGateway,
    call: ChatCall,
    dispatcher: Dispatcher,
    constraint: Constraint | None,
    workers: GrammarWorkers,
) -> list[Stage]:
    script, route = gateway.scenario.script, gateway.config.routes[call.model]
    model = route.ladder[0]
    body = msgspec.json.encode(DIALECTS[model.engine].body(call, model)[0])
    headers = {"Content-Type": "application/json", "X-Request-Id": f"{_new_record().request_id}-1"}

    async def ask() -> None:
        exchange = await gateway.resources.upstream.send(
            "POST", f"{model.base_url[0]}/{call.endpoint.path}",
            headers=headers, body=body, connect_s=LONG_S, within_s=LONG_S,
        )  # fmt: skip
        if call.stream:
            while await exchange.next_events(LONG_S):
                pass
        else:
            await exchange.read()
        exchange.close()

    def read() -> None:
        if call.stream:
            reader = StreamReader(call.choices)
            for event in events:
                reader.read(event)
        else:
            read_usage(parse_whole(whole, call.choices).get("usage"))

    async def dispatch() -> None:
        async with dispatcher.dispatch(call, route, _new_record()) as reply:
            if reply.events is not None:
                async for _ in reply.events:
                    pass

    events, whole = (script.events()[:-1], b"") if script.stream else ([], script.whole())  # the last is not JSON
    stages = [Stage("upstream client", _awaited(ask), (UPSTREAM_SIDE,)), Stage("answer", _called(read))]
    if constraint is not None:
        [choice] = parse_whole(whole, 1)["choices"]
        stages.append(Stage("check", _awaited(lambda: check_choice(constraint, choice, workers))))
    within = ("plan", "policy", "acquire and release", "dialect", *(stage.name for stage in stages[1:]))
    return [
        *stages,
        Stage("dispatch's own", _awaited(dispatch), (_RECORD, *within)),
        Stage(_RECORD, _called(_new_record), kind="harness"),
    ]


def _departure(gateway: InProcessGateway, dispatched: _Dispatched) -> list[Stage]:
    metrics, access = Metrics(gateway.config, gateway.resources.fleet.statuses), AccessLog()
    scope = _scope(gateway)
    return [
        Stage("relay", _awaited(lambda: dispatched.relay(_send)), (_COPY,)),
        Stage("metrics", _called(lambda: metrics.observe(dispatched.record))),
        Stage("access log", _called(lambda: access.write(dispatched.record, scope)), times=MAX_PENDING),
        Stage(_COPY, _called(lambda: copy(dispatched.unbilled)), kind="harness"),
    ]


def _loop(gateway: InProcessGateway) -> list[Stage]:
    """Return the cost of the event loop and the fakes alone."""
    loop, protocol = asyncio.get_running_loop(), DiscardingProtocol(len(gateway.pieces))
    transport = FakeUpstream(loop, protocol, gateway.pieces)

    async def client() -> None:
        done = loop.create_future()
        loop.call_soon(done.set_result, None)
        await done

    return [Stage(CLIENT_SIDE, _awaited(client)), Stage(UPSTREAM_SIDE, _awaited(lambda: protocol.ask(transport)))]


def _new_record() -> RequestRecord:
    return RequestRecord(f"req_{0:032x}", monotonic())


def _scope(gateway: InProcessGateway) -> Scope:
    return {"type": "http", "method": "POST", "path": PATH, "headers": gateway.headers, "state": {}}


async def _send(message: Message) -> None:
    """Ignore a part of an answer."""


def _called(call: Callable[[], object]) -> Run:
    async def run(times: int) -> None:
        for _ in range(times):
            call()

    return run


def _awaited(call: Callable[[], Awaitable[object]]) -> Run:
    async def run(times: int) -> None:
        for _ in range(times):
            await call()

    return run
