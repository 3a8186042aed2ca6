"""The stops of a request's way, each to be run alone: design.md, section 2."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Literal

import msgspec
from starlette.types import Message, Receive, Scope, Send

from benchmarks.overhead.inprocess import PATH, AtOnce, FakeUpstream, Replay, Sink, World
from router.dispatch import DIALECTS, Dispatcher
from router.messages import strict_json
from router.messages.answer import StreamReader, parse_whole
from router.policy.heuristic import Heuristic
from router.record import RequestRecord
from router.structured.answer.check import check_choice
from router.structured.constraint import Constraint
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import ChatCall, Reply, Usage
from server.admission import Admission
from server.auth import Keyring
from server.endpoints.decode import decode
from server.endpoints.schemas import ChatRequest
from server.http.middleware import RequestMiddleware, read_body
from server.http.relay import relay
from server.observability.access_log import MOST_WAITING, AccessLog
from server.observability.metrics import Metrics

Run = Callable[[int], Awaitable[None]]
"""does it so many times"""
Kind = Literal["stop", "part", "aid", "whole"]
LONG_S = 60.0

WHOLE = "the whole way"
CLIENT_SIDE, UPSTREAM_SIDE = "event loop, client's side", "event loop, upstream's side"
_STUB, _RECORD, _COPY = "stub of an endpoint", "a record", "a record's copy"


@dataclass(frozen=True, slots=True)
class Stop:
    """One thing to run. A `part` is within the stop before it, or instead of it; an `aid` is there to be deducted."""

    name: str
    run: Run
    less: tuple[str, ...] = ()
    """what runs along with it, and is deducted"""
    kind: Kind = "stop"
    times: int = 1
    """how often in a row, where it costs something only every so often"""


@dataclass(frozen=True, slots=True)
class _Told:
    """What a dispatch left behind: its record, the reply, and the messages that the relay made of it."""

    call: ChatCall
    unbilled: RequestRecord
    record: RequestRecord
    body: bytes
    batches: Sequence[Any]
    messages: Sequence[Message]

    async def relay(self, send: Send) -> RequestRecord:
        """Relay the reply once more."""
        record = copy(self.unbilled)  # each works out its bill
        await relay(Reply(body=self.body, events=Replay(self.batches) if self.call.stream else None), record, send)
        return record

    async def stub(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the endpoint did, without any of its work."""
        await read_body(receive)
        for message in self.messages:
            await send(message)


async def way(world: World) -> list[Stop]:
    """Return the stops of one world's request, in their order, and last the whole way."""
    call = decode("chat/completions", world.body)
    script = world.scenario.script
    answer = AtOnce(*((b"", script.events()) if script.stream else (script.whole(), ())))
    workers = GrammarWorkers()
    dispatcher = Dispatcher(world.config, world.resources.policies, world.resources.fleet.pools, answer, workers)
    planner = ConstraintCompiler(workers)
    told = await _tell(dispatcher, call)
    return [
        *_arrival(world, told),
        *_decision(world, call, planner),
        *_answer(world, call, dispatcher, await planner.compile(call), workers),
        *_departure(world, told),
        *_loop(world),
        Stop(WHOLE, _awaited(world.client.ask), kind="whole", times=MOST_WAITING),
    ]


async def _tell(dispatcher: Dispatcher, call: ChatCall) -> _Told:
    route, unbilled = dispatcher.route(call.model), _new_record()
    unbilled.endpoint, unbilled.route, unbilled.stream = call.endpoint, route.name, call.stream
    async with dispatcher.dispatch(call, route, unbilled) as reply:
        body, batches = reply.body, [] if reply.events is None else [batch async for batch in reply.events]
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    told = _Told(call, unbilled, unbilled, body, batches, messages)
    record = await told.relay(keep)
    record.outcome, record.finished = "ok", monotonic()
    return replace(told, record=record)


def _arrival(world: World, told: _Told) -> list[Stop]:
    async def receive() -> Message:
        return {"type": "http.request", "body": world.body, "more_body": False}

    async def admit() -> None:
        async with admission:
            pass

    settings, body = world.settings, strict_json.decode(world.body)
    scope = _scope(world)
    protocol = world.connect(told.stub)
    middleware = RequestMiddleware(told.stub, max_body_bytes=settings.max_body_bytes, on_finish=lambda *_: None)
    keyring = Keyring(settings.api_keys)
    fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
    admission = Admission(*settings.slots(0), settings.queue_timeout_s)
    return [
        Stop("uvicorn's protocol", _awaited(protocol.ask), (_STUB, CLIENT_SIDE)),
        Stop("middleware", _awaited(lambda: middleware(scope, receive, _send)), (_STUB,)),
        Stop("auth", _called(lambda: keyring.check(world.headers))),
        Stop("wire", _called(lambda: decode("chat/completions", world.body))),
        Stop("JSON", _called(lambda: strict_json.decode(world.body)), kind="part"),
        Stop("fields", _called(lambda: fields.decode(world.body)), kind="part"),
        Stop("validation", _called(lambda: ChatRequest.__pydantic_validator__.validate_python(body)), kind="part"),
        Stop("admission", _awaited(admit)),
        Stop(_STUB, _awaited(lambda: told.stub(scope, receive, _send)), kind="aid"),
    ]


def _decision(world: World, call: ChatCall, planner: ConstraintCompiler) -> list[Stop]:
    route, policies = world.config.routes[call.model], world.resources.policies
    model = route.ladder[0]
    pool, dialect = world.resources.fleet.pools[model.name], DIALECTS[model.engine]

    def lease() -> None:
        pool.acquire(monotonic(), tried=[], last_resort=False).release(monotonic(), "good")

    return [
        Stop("plan", _awaited(lambda: planner.compile(call))),
        Stop("policy", _called(lambda: policies.of(route, call).decide(call, route.rungs))),
        Stop("instead: heuristic", _called(lambda: Heuristic(route.threshold).decide(call, route.rungs)), kind="part"),
        Stop("acquire and release", _called(lease)),
        Stop("dialect", _called(lambda: dialect.body(call, model))),
    ]


def _answer(
    world: World, call: ChatCall, dispatcher: Dispatcher, constraint: Constraint | None, workers: GrammarWorkers
) -> list[Stop]:
    script, route = world.scenario.script, world.config.routes[call.model]
    model = route.ladder[0]
    body, _ = DIALECTS[model.engine].body(call, model)
    headers = {"Content-Type": "application/json", "X-Request-Id": f"{_new_record().request_id}-1"}

    async def ask() -> None:
        exchange = await world.resources.upstream.send(
            "POST", f"{model.base_url[0]}/{call.endpoint}",
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
            Usage.of(parse_whole(whole, call.choices).get("usage"))

    async def dispatch() -> None:
        async with dispatcher.dispatch(call, route, _new_record()) as reply:
            if reply.events is not None:
                async for _ in reply.events:
                    pass

    events, whole = (script.events()[:-1], b"") if script.stream else ([], script.whole())  # the last is no JSON
    stops = [Stop("upstream client", _awaited(ask), (UPSTREAM_SIDE,)), Stop("answer", _called(read))]
    if constraint is not None:
        [choice] = parse_whole(whole, 1)["choices"]
        stops.append(Stop("check", _awaited(lambda: check_choice(constraint, choice, workers))))
    within = ("plan", "policy", "acquire and release", "dialect", *(stop.name for stop in stops[1:]))
    return [
        *stops,
        Stop("dispatch's own", _awaited(dispatch), (_RECORD, *within)),
        Stop(_RECORD, _called(_new_record), kind="aid"),
    ]


def _departure(world: World, told: _Told) -> list[Stop]:
    metrics, access = Metrics(world.config, world.resources.fleet.statuses), AccessLog()
    scope = _scope(world)
    return [
        Stop("relay", _awaited(lambda: told.relay(_send)), (_COPY,)),
        Stop("metrics", _called(lambda: metrics.observe(told.record))),
        Stop("access log", _called(lambda: access.write(told.record, scope)), times=MOST_WAITING),
        Stop(_COPY, _called(lambda: copy(told.unbilled)), kind="aid"),
    ]


def _loop(world: World) -> list[Stop]:
    """Return what the event loop and the fakes cost where nobody does anything."""
    loop, sink = asyncio.get_running_loop(), Sink(len(world.pieces))
    transport = FakeUpstream(loop, sink, world.pieces)

    async def client() -> None:
        done = loop.create_future()
        loop.call_soon(done.set_result, None)
        await done

    return [Stop(CLIENT_SIDE, _awaited(client)), Stop(UPSTREAM_SIDE, _awaited(lambda: sink.ask(transport)))]


def _new_record() -> RequestRecord:
    return RequestRecord(f"req_{0:032x}", monotonic())


def _scope(world: World) -> Scope:
    return {"type": "http", "method": "POST", "path": PATH, "headers": world.headers, "state": {}}


async def _send(message: Message) -> None:
    """Take a part of an answer and do nothing with it."""


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
