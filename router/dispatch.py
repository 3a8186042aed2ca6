"""The whole request, top to bottom: plan, decide, lease, ask, check, and one rung up where that must be.

Before the first content reaches the client a retry or an escalation is free and invisible. After it there is no
other answer: the stream ends truthfully, with an error and no `[DONE]`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import NamedTuple

from router import fit, retry
from router.abilities import needs
from router.answer import parse_whole, write
from router.cascade import ASKED_DIFFERENTLY
from router.config import Config, Model, Route, Rung
from router.errors import ApiError, NotFound, UpstreamError, UpstreamRejected
from router.gate import Gate
from router.ladder import Course, Way
from router.policies import Policies
from router.policy.base import Policy
from router.policy.learned import Cascade
from router.pool import Lease, Pool
from router.prompt import rough_tokens
from router.record import Attempt, RequestRecord
from router.retry import TRIES_ON_A_RUNG, Failure
from router.stream import AnswerStream
from router.structured.plan import Planner
from router.structured.promise import Promise
from router.structured.workshop import Workshop
from router.types import ChatCall, Engine, Reply, Usage
from router.upstream.base import Dialect, Upstream
from router.upstream.openai import OpenAIDialect
from router.upstream.vllm import VllmDialect

log = logging.getLogger("smallfirst.dispatch")

NEWEST_COUNTS = 0.1
"""share of the newest in the moving average of how long a model takes until its answer may leave"""

DIALECTS: Mapping[Engine, Dialect] = {"vllm": VllmDialect(), "openai": OpenAIDialect()}


class Dispatcher:
    """Takes calls to the pools of one configuration."""

    def __init__(
        self, config: Config, policies: Policies, pools: Mapping[str, Pool], upstream: Upstream, workshop: Workshop
    ) -> None:
        self._config = config
        self._policies = policies
        self._pools = pools
        self._upstream = upstream
        self._workshop = workshop
        self._planner = Planner(workshop)
        self._waits: dict[str, float] = {}

    def route(self, name: str) -> Route:
        """Return the route that a request's `model` names.

        Raises:
            NotFound: no route and no model has that name, or it is left out here.
        """
        if route := self._config.route(name):
            return route
        absent = "is configured but not available here" if name in self._config.left_out else "does not exist"
        raise NotFound(
            f"The model '{name[:128]}' {absent}; GET /v1/models lists what is served.",
            param="model",
            code="model_not_found",
        )

    @asynccontextmanager
    async def dispatch(self, call: ChatCall, route: Route, record: RequestRecord) -> AsyncIterator[Reply]:
        """Yield the reply to a call; whatever was leased for it is released when the context ends.

        The record tells what was decided, tried and spent, also after an error.

        Raises:
            ApiError: no answer could be had. While the reply's events are read: it broke off after its beginning.
        """
        record.fallback = route.fallback
        policy = self._policies.of(route, call)
        promise = await self._promise(call, record)
        wanted = needs(call)
        rungs = _allowed(route, call)
        record.decision = policy.decide(call, rungs, self._waits)
        course = Course.begin(rungs, record.decision, record)
        lease: Lease | None = None
        told: Failure | None = None
        unsure: _Unsure | None = None
        try:
            while True:
                model = course.way.model
                pool = self._pools[model.name]
                put = call if promise is None else await promise.put(model)
                failure = fit.why_not(model, put, wanted, record.cost_nano_usd or 0)
                if failure is None:
                    gate = self._gate(policy, route, call, promise, course.way, record)
                    try:
                        lease = pool.acquire(monotonic(), tried=course.tried, last_resort=course.way.is_last)
                        record.attempts.append(lease.attempt)
                        reply = await self._ask(put, promise, gate, lease, record, last=_is_last(call, course))
                        if gate is None or gate.is_open:
                            break
                        failure, unsure = retry.of(gate.doubt()), _Unsure(reply, lease, record.structured)
                    except ApiError as error:
                        if isinstance(error, UpstreamError):
                            error.of_model(model.name)
                        told = _told(told, failure := retry.of(error))
                if lease is not None:
                    course.tried.append(lease.replica.name)
                    _give_up(lease, failure, call)
                    lease = None
                step = course.go_on(failure, pool.untried(monotonic(), course.tried), record)
                # not the message: upstreams quote prompts in theirs
                log.info("%s: %s: %s: %s", record.request_id, model.name, failure.error.code, step)
                if step == "fail":
                    # why a model that could do it did not says more than that another cannot do it
                    if unsure is None or call.routing.min_confidence is not None:
                        raise (told or failure).error
                    model, reply = unsure.settle(record, told or failure)
                    break
                if promise is not None:
                    promise.learn(failure.error, other_model=step == "escalate")
            record.model = model.name
            yield reply
        finally:
            if lease is not None:
                lease.abandon(monotonic())
                _estimate(lease.attempt, call)

    def _note_wait(self, model: Model, seconds: float) -> None:
        before = self._waits.get(model.name, seconds)
        self._waits[model.name] = before + NEWEST_COUNTS * (seconds - before)

    async def _promise(self, call: ChatCall, record: RequestRecord) -> Promise | None:
        constraint = await self._planner.plan(call)
        return None if constraint is None else Promise(constraint, call, record, self._workshop)

    def _gate(
        self, policy: Policy, route: Route, call: ChatCall, promise: Promise | None, way: Way, record: RequestRecord
    ) -> Gate | None:
        """Return who judges the next answer; None: it is believed.

        That is the fallback's, and that of a model which cannot say how sure it is.
        """
        model, decision, demanded = way.model, record.decision, call.routing.min_confidence is not None
        if not isinstance(policy, Cascade) or decision is None or model.name not in decision.looks:
            return None
        hold = call.routing.hold or route.hold or ("whole" if route.guarantee else "first")
        is_mute = "logprobs" not in model.abilities or call.body.get("echo") is True  # or it would tell the prompt's
        if is_mute or (call.stream and hold == "none") or not (way.rung_above or demanded):
            return None
        return Gate(
            policy,
            decision,
            model,
            call,
            record,
            samples=route.samples or 0,
            is_formed=promise is not None and not promise.is_free,
            early=hold == "first",
        )

    async def _ask(
        self,
        call: ChatCall,
        promise: Promise | None,
        gate: Gate | None,
        lease: Lease,
        record: RequestRecord,
        *,
        last: bool,
    ) -> Reply:
        """Ask one replica; raise ApiError for anything but an answer that may leave, or that its gate holds back."""
        model = lease.model
        dialect = DIALECTS[model.engine]
        record.structured, follower, verify = "none", None, None
        if promise is not None:
            verify = partial(promise.verify, model=model, last=last)
            follower = promise.follow(model) if call.stream else None
        if gate is not None:
            call = gate.put(call)
            record.held = call.stream
        body, record.dropped = dialect.body(call, model)
        now = monotonic()
        end_by = now + model.timeouts.total_s
        first_by = min(now + model.timeouts.first_byte_s, end_by) if call.stream else end_by
        exchange = lease.exchange = await self._upstream.send(
            "POST",
            f"{lease.replica.url}/{call.endpoint}",
            headers=_headers(model, record),
            body=body,
            connect_s=model.timeouts.connect_s,
            within_s=first_by - now,
        )
        if exchange.status != 200:
            said = await exchange.read()
            raise dialect.refusal(model, exchange.status, said, exchange.retry_after_s)
        lease.attempt.answered = True
        if not call.stream:
            whole = await exchange.read()
            if gate is not None:
                whole = gate.read(whole)
            answer = parse_whole(whole, call.choices)
            usage = lease.attempt.usage = Usage.of(answer.get("usage"))
            chosen = answer if gate is None else gate.choose(answer)
            lease.attempt.samples = len(answer["choices"]) // len(chosen["choices"])
            one_usage = usage if chosen is answer else None
            instead = await verify(chosen["choices"], one_usage) if verify else None
            if instead or chosen is not answer:
                chosen = {**chosen, "choices": instead or chosen["choices"]}
                whole = write(chosen)
            if gate is not None:
                gate.judge(chosen["choices"])
            self._note_wait(model, monotonic() - now)
            lease.release(monotonic(), "good")
            return Reply(body=whole)
        stream = AnswerStream(call, lease, exchange, dialect, first_by, end_by, follower, verify, gate)
        await stream.begin()
        self._note_wait(model, monotonic() - now)
        if gate is None or gate.is_open:
            record.first_token_s = monotonic() - record.started
        return Reply(events=stream)


class _Unsure(NamedTuple):
    """An answer that is not sure enough: better than none, where nobody above can give one."""

    reply: Reply
    lease: Lease
    structured: str

    def settle(self, record: RequestRecord, above: Failure) -> tuple[Model, Reply]:
        """Return whose it is and the answer itself, which may leave after all; the record says why."""
        self.lease.attempt.failure = ""
        record.unsure, record.structured = above.reason or "rejected", self.structured
        if self.reply.events is not None:
            record.first_token_s = monotonic() - record.started
        return self.lease.model, self.reply


def _is_last(call: ChatCall, course: Course) -> bool:
    """Return whether nobody could do better than this try if its answer is cut."""
    more_room = call.max_tokens is not None  # else the next one would be cut at the same place
    return not course.way.rung_above and (len(course.tried) + 1 >= TRIES_ON_A_RUNG or not more_room)


def _told(before: Failure | None, now: Failure) -> Failure:
    """Return the failure that a client is told of: what it did not write itself may be why a later try was refused."""
    is_refused = isinstance(now.error, UpstreamRejected) and now.reason in (None, "context")
    return before if before and before.reason in ASKED_DIFFERENTLY and is_refused else now


def _give_up(lease: Lease, failure: Failure, call: ChatCall) -> None:
    lease.attempt.failure = failure.reason or "rejected"
    lease.release(monotonic(), "bad" if failure.speaks_against_replica else "unknown")
    _estimate(lease.attempt, call)


def _estimate(attempt: Attempt, call: ChatCall) -> None:
    """Guess what a broken-off attempt used: most providers charge for it, and nobody will say how much."""
    if attempt.answered and attempt.failure and attempt.usage is None:
        attempt.estimate = Usage(prompt=rough_tokens(call), completion=attempt.events)


def _allowed(route: Route, call: ChatCall) -> Sequence[Rung]:
    if call.routing.allow_fallback or len(route.rungs) == 1 or route.rungs[-1][0] is not route.fallback:
        return route.rungs
    return route.rungs[:-1]


def _headers(model: Model, record: RequestRecord) -> dict[str, str]:
    # one id an attempt: an engine may still be at work on the one before
    headers = {"Content-Type": "application/json", "X-Request-Id": f"{record.request_id}-{len(record.attempts)}"}
    if model.api_key is not None:
        headers["Authorization"] = f"Bearer {model.api_key.get_secret_value()}"
    return headers
