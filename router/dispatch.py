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

from router import fit, retry
from router.abilities import needs
from router.answer import parse_whole, write
from router.cascade import ASKED_DIFFERENTLY, Standing, next_step
from router.config import Config, Model, Route
from router.errors import ApiError, NotFound, UpstreamError, UpstreamRejected
from router.policy.base import POLICIES
from router.pool import Lease, Pool
from router.prompt import rough_tokens
from router.record import Attempt, Escalation, RequestRecord
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

DIALECTS: Mapping[Engine, Dialect] = {"vllm": VllmDialect(), "openai": OpenAIDialect()}


class Dispatcher:
    """Takes calls to the pools of one configuration."""

    def __init__(self, config: Config, pools: Mapping[str, Pool], upstream: Upstream, workshop: Workshop) -> None:
        self._config = config
        self._pools = pools
        self._upstream = upstream
        self._workshop = workshop
        self._planner = Planner(workshop)

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
        promise = await self._promise(call, record)
        wanted = needs(call)
        ladder = _allowed(route, call)
        policy = POLICIES[call.routing.policy or route.policy](route)
        record.decision = policy.decide(call, len(ladder))
        rung, tried = record.decision.rung, list[str]()
        if rung:
            record.escalations.append(Escalation(ladder[0].name, ladder[rung].name, "policy"))
        lease: Lease | None = None
        asked: Failure | None = None
        try:
            while True:
                model, pool, rung_above = ladder[rung], self._pools[ladder[rung].name], rung + 1 < len(ladder)
                put = call if promise is None else await promise.put(model)
                failure = fit.why_not(model, put, wanted, record.cost_nano_usd or 0)
                if failure is None:
                    try:
                        lease = pool.acquire(monotonic(), tried=tried, last_resort=not rung_above)
                        record.attempts.append(lease.attempt)
                        reply = await self._ask(put, promise, lease, record, last=_is_last(call, tried, rung_above))
                        break
                    except ApiError as error:
                        if isinstance(error, UpstreamError):
                            error.of_model(model.name)
                        asked = _told(asked, failure := retry.of(error))
                if lease is not None:
                    tried.append(lease.replica.name)
                    _give_up(lease, failure, call)
                    lease = None
                others = pool.untried(monotonic(), tried)
                step = next_step(failure, Standing(len(tried), others, rung_above, bool(record.retries)))
                # not the message: upstreams quote prompts in theirs
                log.info("%s: %s: %s: %s", record.request_id, model.name, failure.error.code, step)
                if step == "fail" or failure.reason is None:
                    # why a model that could do it did not says more than that another cannot do it
                    raise (asked or failure).error
                if promise is not None:
                    promise.learn(failure.error, other_model=step == "escalate")
                if step == "retry":
                    record.retries.append((model.name, failure.reason))
                else:
                    record.escalations.append(Escalation(model.name, ladder[rung + 1].name, failure.reason))
                    rung, tried = rung + 1, []
            record.model = model.name
            yield reply
        finally:
            if lease is not None:
                lease.abandon(monotonic())
                _estimate(lease.attempt, call)

    async def _promise(self, call: ChatCall, record: RequestRecord) -> Promise | None:
        constraint = await self._planner.plan(call)
        return None if constraint is None else Promise(constraint, call, record, self._workshop)

    async def _ask(
        self,
        call: ChatCall,
        promise: Promise | None,
        lease: Lease,
        record: RequestRecord,
        *,
        last: bool,
    ) -> Reply:
        """Ask one replica; raise ApiError for anything but an answer that may leave."""
        model = lease.model
        dialect = DIALECTS[model.engine]
        record.structured, follower, verify = "none", None, None
        if promise is not None:
            verify = partial(promise.verify, model=model, last=last)
            follower = promise.follow(model) if call.stream else None
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
            answer = parse_whole(whole, call.choices)
            usage = lease.attempt.usage = Usage.of(answer.get("usage"))
            if verify and (instead := await verify(answer["choices"], usage)):
                whole = write({**answer, "choices": instead})
            lease.release(monotonic(), "good")
            return Reply(body=whole)
        stream = AnswerStream(call, lease, exchange, dialect, first_by, end_by, follower, verify)
        await stream.begin()
        record.first_token_s = monotonic() - record.started
        return Reply(events=stream)


def _is_last(call: ChatCall, tried: Sequence[str], rung_above: bool) -> bool:
    """Return whether nobody could do better than this try if its answer is cut."""
    more_room = call.max_tokens is not None  # else the next one would be cut at the same place
    return not rung_above and (len(tried) + 1 >= TRIES_ON_A_RUNG or not more_room)


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


def _allowed(route: Route, call: ChatCall) -> Sequence[Model]:
    if call.routing.allow_fallback:
        return route.ladder
    return [model for model in route.ladder if model is not route.fallback] or route.ladder


def _headers(model: Model, record: RequestRecord) -> dict[str, str]:
    # one id an attempt: an engine may still be at work on the one before
    headers = {"Content-Type": "application/json", "X-Request-Id": f"{record.request_id}-{len(record.attempts)}"}
    if model.api_key is not None:
        headers["Authorization"] = f"Bearer {model.api_key.get_secret_value()}"
    return headers
