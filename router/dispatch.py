"""The whole request, top to bottom: plan, decide, lease, ask, check, and one rung up where that must be.

Before the first content reaches the client a retry or an escalation is free and invisible. After it there is no
other answer: the stream ends truthfully, with an error and no `[DONE]`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from time import monotonic
from types import TracebackType

from router.attempt import eligibility
from router.attempt.abilities import needs
from router.attempt.best_so_far import Unsure
from router.attempt.failure import TRIES_ON_A_RUNG, Failure, classify
from router.attempt.ladder import Course, Way
from router.attempt.next_step import ASKED_DIFFERENTLY
from router.attempt.stream import AnswerStream
from router.config.models import Config, Model, Route, Rung
from router.errors import ApiError, NotFound, UpstreamError, UpstreamRejected
from router.judge.gate import Case, Gate, StreamGate, VotingGate, WholeGate
from router.messages.answer import parse_whole, write
from router.messages.prompt import rough_tokens
from router.policy.base import NO_LATENCIES, Policy
from router.policy.learned import Cascade
from router.policy.registry import Policies
from router.record import Attempt, RequestRecord
from router.replicas.latency import LatencyAverages
from router.replicas.pool import Lease, Pool
from router.structured.contract import OutputContract
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import ChatCall, Engine, Reply, Usage
from router.upstream.base import Dialect, Upstream
from router.upstream.dialects.openai import OpenAIDialect
from router.upstream.dialects.vllm import VllmDialect

log = logging.getLogger("smallfirst.dispatch")

DIALECTS: Mapping[Engine, Dialect] = {"vllm": VllmDialect(), "openai": OpenAIDialect()}


class Dispatcher:
    """Takes calls to the pools of one configuration."""

    def __init__(
        self,
        config: Config,
        policies: Policies,
        pools: Mapping[str, Pool],
        upstream: Upstream,
        workers: GrammarWorkers,
    ) -> None:
        self._config = config
        self._policies = policies
        self._pools = pools
        self._upstream = upstream
        self._workers = workers
        self._planner = ConstraintCompiler(workers)
        self._latencies = LatencyAverages()

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

    def dispatch(self, call: ChatCall, route: Route, record: RequestRecord) -> Dispatch:
        """Return the call as a context, which has the reply.

        The record tells what was decided, tried and spent, also after an error.
        """
        return Dispatch(self, call, route, record)

    async def reply(self, call: ChatCall, route: Route, record: RequestRecord, holding: Dispatch) -> Reply:
        """Return the reply to a call, while its lease is held.

        Raises:
            ApiError: no answer could be had. While the reply's events are read: it broke off after its beginning.
        """
        record.fallback = route.fallback
        policy = self._policies.of(route, call)
        promise = await self._promise(call, record)
        wanted = needs(call)
        rungs = _allowed(route, call)
        record.decision = policy.decide(call, rungs, self._recent_latencies(route))
        course = Course.begin(rungs, record.decision, record)
        told: Failure | None = None
        unsure: Unsure | None = None
        while True:
            model, pool = course.way.model, self._pools[course.way.model.name]
            gate = self._gate(policy, route, call, promise, course.way, record)
            put = await _put(call, promise, gate, model)
            failure = eligibility.why_not(model, put, wanted, record.cost_nano_usd or 0)
            if failure is None:
                try:
                    lease = pool.acquire(monotonic(), tried=course.tried, last_resort=course.way.is_last)
                    holding.lease = lease
                    record.attempts.append(lease.attempt)
                    asking = self._ask(put, promise, gate, lease, record, last=_is_final(call, course))
                    reply = await (unsure.in_time(asking, call, record) if unsure else asking)
                    if gate is None or gate.is_open:
                        break
                    failure, unsure = classify(gate.doubt()), Unsure.surer(unsure, reply, lease, record)
                except ApiError as error:
                    failure = _classified(error, model, gate)
                    told = _told(told, failure)
            if holding.lease is not None:
                course.tried.append(holding.lease.replica.name)
                _give_up(holding.lease, failure, call)
                holding.lease = None
            step = course.go_on(failure, pool.untried(monotonic(), course.tried), record, spare=not unsure)
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
        return reply

    def _recent_latencies(self, route: Route) -> Mapping[str, float]:
        return self._latencies.recent(monotonic()) if route.waiting_usd_per_hour else NO_LATENCIES

    async def _promise(self, call: ChatCall, record: RequestRecord) -> OutputContract | None:
        constraint = await self._planner.compile(call)
        return None if constraint is None else OutputContract(constraint, call, record, self._workers)

    def _gate(
        self,
        policy: Policy,
        route: Route,
        call: ChatCall,
        promise: OutputContract | None,
        way: Way,
        record: RequestRecord,
    ) -> Gate | None:
        """Return who judges the next answer; None: it is believed.

        That is the fallback's, and where nobody demands more, that of a model which cannot say how sure it is.
        """
        model, decision, demanded = way.model, record.decision, call.routing.min_confidence is not None
        if (
            not isinstance(policy, Cascade)
            or decision is None
            or (candidate := decision.candidates.get(model.name)) is None
        ):
            return None
        hold = call.routing.hold or route.hold or ("whole" if route.guarantee else "first")
        votes = policy.votes_on(call)
        tells = votes > 0 or "logprobs" in model.abilities or demanded or candidate.is_guaranteed
        if not tells or (call.stream and hold == "none") or not (way.rung_above or demanded):
            return None
        case = Case(policy, decision, model, call, record, promise is not None and not promise.is_free)
        if call.stream:
            return StreamGate(case, early=hold == "first")
        return VotingGate(case, votes) if votes else WholeGate(case)

    async def _ask(
        self,
        call: ChatCall,
        promise: OutputContract | None,
        gate: Gate | None,
        lease: Lease,
        record: RequestRecord,
        *,
        last: bool,
    ) -> Reply:
        """Ask one replica; raise ApiError for anything but an answer that may leave, or that its gate holds back."""
        model = lease.model
        dialect = DIALECTS[model.engine]
        record.structured, checker, verify = "none", None, None
        if promise is not None:
            verify = partial(promise.verify, model=model, last=last)
            checker = promise.follow(model) if call.stream else None
        if isinstance(gate, StreamGate):
            record.held = True
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
            judge = gate if isinstance(gate, WholeGate) else None
            if judge is not None:
                whole = judge.read(whole)
            answer = parse_whole(whole, call.choices if judge is None else judge.choices)
            usage = lease.attempt.usage = Usage.of(answer.get("usage"))
            chosen = answer if judge is None else judge.choose(answer)
            lease.attempt.samples = len(answer["choices"]) // len(chosen["choices"])
            one_usage = usage if chosen is answer else None
            instead = await verify(chosen["choices"], one_usage) if verify else None
            if instead or chosen is not answer:
                chosen = {**chosen, "choices": instead or chosen["choices"]}
                whole = write(chosen)
            if judge is not None:
                judge.judge(chosen["choices"])
            self._latencies.note(model.name, monotonic() - now, monotonic())
            lease.release(monotonic(), "good")
            return Reply(body=whole)
        held_by = gate if isinstance(gate, StreamGate) else None
        stream = AnswerStream(call, lease, exchange, dialect, first_by, end_by, checker, verify, held_by)
        await stream.begin()
        self._latencies.note(model.name, monotonic() - now, monotonic())
        if gate is None or gate.is_open:
            record.first_token_s = monotonic() - record.started
        return Reply(events=stream)


class Dispatch:
    """`async with` it for the reply; what was leased is released at its end. A generator would take 6 us more."""

    __slots__ = ("_call", "_dispatcher", "_record", "_route", "lease")

    def __init__(self, dispatcher: Dispatcher, call: ChatCall, route: Route, record: RequestRecord) -> None:
        self._dispatcher, self._call, self._route, self._record = dispatcher, call, route, record
        self.lease: Lease | None = None

    async def __aenter__(self) -> Reply:
        try:
            return await self._dispatcher.reply(self._call, self._route, self._record, self)
        except BaseException:
            self._release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        if self.lease is not None:
            self.lease.abandon(monotonic())
            _estimate(self.lease.attempt, self._call)


async def _put(call: ChatCall, promise: OutputContract | None, gate: Gate | None, model: Model) -> ChatCall:
    """Return the call as this model is to be asked."""
    put = call if promise is None else await promise.put(model)
    return put if gate is None else gate.put(put)


def _classified(error: ApiError, model: Model, gate: Gate | None) -> Failure:
    if isinstance(error, UpstreamError):
        error.of_model(model.name)
    failure = classify(error)
    return failure if gate is None else gate.excuse(failure)


def _is_final(call: ChatCall, course: Course) -> bool:
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
