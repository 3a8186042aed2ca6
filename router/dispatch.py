"""The whole request, top to bottom: plan, decide, lease, ask, check, and one rung up if necessary.

Before the first content reaches the client a retry or an escalation is free and invisible. After it there is no
other answer: another replica goes on with it, or the stream ends truthfully, with an error and no `[DONE]`.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from types import TracebackType

from router.attempt import eligibility
from router.attempt.abilities import needs
from router.attempt.adapting import Adapting
from router.attempt.best_so_far import EMPTY, RUNAWAY, BestSoFar, before_deadline, latest_end
from router.attempt.continuation.failover import Failover
from router.attempt.empty_answer import Expectation
from router.attempt.ending import end_attempt, end_failed
from router.attempt.failure import Failure, classify, to_report
from router.attempt.ladder import Ladder, Move, allowed_rungs
from router.attempt.lease import acquire
from router.attempt.retry import RetryContext
from router.attempt.stream import AnswerStream
from router.attempt.stream_checks import note_violation, stream_checks
from router.attempt.whole_answer import read_whole
from router.config.models import Route
from router.errors import AnswerEmpty, ApiError, Misconfigured, Runaway, UpstreamError, UpstreamRejected
from router.judge.base import Judge
from router.messages.reasoning_names import with_both_names
from router.messages.service_tier import service_tier_of
from router.messages.token_limit import with_token_limit
from router.policy.base import NextAttempt, Situation
from router.record import Escalation, RequestRecord
from router.replicas.pool import Lease
from router.services import Services
from router.structured.contract import Choices, OutputContract, outcome
from router.types import Ability, ChatCall, Reply, Usage
from router.upstream.dialects import DIALECTS

log = logging.getLogger("smallfirst.dispatch")


class Dispatch:
    """One request. `async with` yields its reply, and releases the lease at the end.

    Only this class writes the request's record. (A class, not an async generator: that would take 6 us more.)

    Raises:
        ApiError: no answer could be had. While the reply's events are read: the answer broke off after its beginning.
    """

    __slots__ = (
        "_best",
        "_call",
        "_contract",
        "_empty",
        "_judge",
        "_ladder",
        "_lease",
        "_limit",
        "_record",
        "_report",
        "_route",
        "_shared",
    )

    def __init__(self, shared: Services, call: ChatCall, route: Route, record: RequestRecord) -> None:
        self._shared, self._call, self._route, self._record = shared, call, route, record
        self._contract: OutputContract | None = None
        self._judge: Judge | None = None
        self._lease: Lease | None = None
        self._best: BestSoFar | None = None
        self._empty: AnswerEmpty | None = None  # the fault of the current attempt's answer
        self._limit: int | None = None  # of tokens, after the client's own left no room for an answer
        self._report: Failure | None = None  # what to report if nothing better follows

    async def __aenter__(self) -> Reply:
        try:
            return await self._reply()
        except BaseException:
            self._release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    async def _reply(self) -> Reply:
        call, route, record = self._call, self._route, self._record
        record.fallback, record.service_tier = route.fallback, service_tier_of(call.body)
        policy = self._shared.policies.of(route, call)
        if constraint := await self._shared.constraints.compile(call):  # 1 what must the answer satisfy?
            self._contract = OutputContract(constraint, call, self._shared.workers)
        rungs, wanted = allowed_rungs(route, call), needs(call)
        latencies = self._shared.latencies.recent(monotonic()) if policy.reads_latencies else {}
        escalated = record.escalated = self._shared.conversations.recall(call, route, record, monotonic())
        situation = Situation(call, rungs, latencies, escalated)
        decision = record.decision = policy.decide(situation)  # 2 which models, in which order?
        ladder = self._ladder = Ladder.of(rungs, decision)
        if decision.rung:
            record.escalations.append(Escalation(rungs[0][0].name, ladder.current.name, "policy"))
        is_structured = self._contract is not None and not self._contract.is_free
        while True:
            if policy.judges and call.endpoint.returns_choices:
                attempt = NextAttempt(call, ladder.current, decision, is_structured, ladder.rung_above)
                self._judge = policy.judge(attempt)
            try:
                reply = await self._attempt(wanted)  # 3 eligible? lease, send, check, judge
                return self._accept(reply, ladder.current.name)
            except ApiError as error:
                failure = self._give_up(error)  # 4 one classifier for every failure
            move = self._next_step(failure)  # 5 again, one up, or the end
            if move.step == "fail":
                return self._settle_for_best(failure)
            if move.pause_s:
                await asyncio.sleep(move.pause_s)

    async def _attempt(self, wanted: frozenset[Ability]) -> Reply:
        """Ask the current model; raise ApiError for anything but an answer that may leave."""
        record, ladder, judge = self._record, self._ladder, self._judge
        model, dialect = ladder.current, DIALECTS[ladder.current.engine]
        adapting = Adapting(self._shared.profiles, model.name, self._call, monotonic())
        asked = self._call if self._limit is None else with_token_limit(self._call, self._limit)
        if self._contract is not None:
            asked = await self._contract.adapt(model, dialect, limit=self._limit, refused=adapting.refuses_format)
        if judge is not None:
            asked = judge.adapt(asked)
        if self._contract is not None:
            asked = self._contract.stop_early(asked, model, dialect)
        eligibility.check(model, dialect, adapting.prepare(asked), wanted, record.cost_nano_usd or 0)
        if not ladder.tried:
            self._shared.retries.count_request(model.name, monotonic())
        is_taken = False
        try:
            while not is_taken:
                is_taken, asking = True, self._ask(adapting)
                try:
                    reply = await (before_deadline(asking, self._call, record.started) if self._best else asking)
                except UpstreamRejected as error:
                    is_taken = False
                    if not self._may_ask_again(adapting, error):
                        raise adapting.read(error) from None
        finally:
            if is_taken and (adapting.trial or self._contract is not None):
                self._remember(adapting)
            if judge is not None:
                record.judgements += judge.judgements
        if self._empty is not None:
            self._best = BestSoFar.better_of(self._best, reply, record, EMPTY)
            raise self._empty
        if record.attempts[-1].ran_away and ladder.rung_above:
            self._best = BestSoFar.better_of(self._best, reply, record, RUNAWAY)
            raise Runaway(f"The answer of model '{model.name}' repeats itself without end.")
        if judge is not None and not judge.accepted:
            self._best = BestSoFar.better_of(self._best, reply, record, judge.judgements[-1].gain)
            raise judge.low_confidence_error()
        return reply

    def _may_ask_again(self, adapting: Adapting, error: UpstreamRejected) -> bool:
        """Return whether the upstream refused what can be written otherwise. If so, the attempt is ended."""
        caused_by_judge = self._judge is not None and self._judge.caused(error)
        if caused_by_judge or not adapting.may_ask_again(error):
            return False
        if self._lease is not None:
            end_attempt(self._lease, self._call, monotonic(), "adapted", "unknown")
            self._lease = None
        return True

    def _remember(self, adapting: Adapting) -> None:
        if self._lease is not None and self._lease.attempt.answered:
            is_in_words = self._contract is not None and self._contract.refused
            adapting.remember(monotonic(), format_refused=is_in_words)

    async def _ask(self, adapting: Adapting) -> Reply:
        """Lease a replica, send it the request, and read its answer, or the beginning of its stream."""
        record, ladder = self._record, self._ladder
        pool = self._shared.pools[ladder.current.name]
        lease = self._lease = await acquire(pool, self._call, record, ladder)
        record.structured = "none"
        expected = Expectation.of(self._call, lease.model, self._contract, self._shared.begins_inside_thoughts)
        checks = None
        if self._call.stream:
            failover = Failover(self._shared, self._call, record, ladder, self._contract, self._own)
            checks = stream_checks(
                expected, self._contract, self._judge, self._verify, record, is_last=ladder.is_last_resort
            )._replace(resume=failover if failover.may_help else None)
        source = await self._shared.hedging.send(adapting, pool, lease, record, ladder.tried)
        lease = self._lease = source.lease
        if checks is not None:
            stream = AnswerStream(self._call, source, checks)
            await stream.begin()
            self._empty = stream.empty
            reply = Reply(events=stream)
        else:
            checker = self._contract.watch(lease.model) if self._contract and adapting.asked.is_assembled else None
            verify = self._verify if self._contract else None
            body, self._empty = await read_whole(expected, source, checker, self._judge, verify)
            reply = Reply(body=body)
        now = monotonic()
        self._shared.latencies.note(lease.model.name, now - source.sent_at, now)
        if not self._call.stream:
            lease.release(now, "good")
        return reply

    def _own(self, lease: Lease) -> None:
        self._lease = lease

    async def _verify(self, choices: Choices, usage: Usage | None) -> Choices | None:
        """Check an answer's choices; return what may leave instead, or None if they may leave unchanged.

        Raises:
            StructuredOutputViolation: a choice is invalid, or cut where the client wants no cut answer.
        """
        if self._contract is None:
            return None
        record, model = self._record, self._ladder.current
        is_last = self._ladder.is_final_try(more_room=self._call.max_tokens is not None)
        checked = await self._contract.check(choices, usage, model, last=is_last)
        record.verdicts += [(model.name, kind, word) for kind, word in checked.verdicts]
        if checked.error:
            raise checked.error
        record.structured = outcome(checked.verdicts, record.format_history)
        return checked.choices

    def _accept(self, reply: Reply, model: str) -> Reply:
        record = self._record
        record.model = model
        if record.escalations or record.escalated:
            self._shared.conversations.note(self._call, self._route, record, monotonic())
        if reply.events is not None:
            record.first_token_s = monotonic() - record.started
        return with_both_names(reply) if self._shared.both_reasoning_names else reply

    def _give_up(self, error: ApiError) -> Failure:
        """Classify the attempt's error and release its lease."""
        record, model, judge, lease = self._record, self._ladder.current, self._judge, self._lease
        if isinstance(error, UpstreamError):
            error.add_model_name(model.name)
        if isinstance(error, Misconfigured):
            record.misconfigured.append((model.name, error.kind))
            self._shared.profiles.note_misconfigured(model.name, error.kind, error.told, monotonic())
        note_violation(record, model.name, error)
        caused_by_judge = judge is not None and isinstance(error, UpstreamRejected) and judge.caused(error)
        failure = classify(error, caused_by_judge=caused_by_judge)
        if lease is not None:
            failure, self._lease = end_failed(lease, self._call, monotonic(), failure, self._ladder.tried), None
        self._report = to_report(self._report, failure)
        return failure

    def _next_step(self, failure: Failure) -> Move:
        """Move on the ladder, and write down where to."""
        record, ladder, before = self._record, self._ladder, self._ladder.current
        now, end_by = monotonic(), latest_end(self._call, record.started)
        others = self._shared.pools[before.name].untried(now, ladder.tried)
        may_ask_skipped = self._best is None or self._best.is_empty
        context = RetryContext(now, end_by, others, bool(record.retries), may_ask_skipped)
        move = self._shared.retries.next_step(ladder, failure, context)
        self._limit = failure.error.room if move.step == "retry" and isinstance(failure.error, AnswerEmpty) else None
        if move.is_retry_refused:
            record.refused_retries.append((before.name, failure.reason or ""))
        # not the message: upstreams quote prompts in theirs
        log.info("%s: %s: %s: %s", record.request_id, before.name, failure.error.code, move.step)
        reason = failure.reason
        if reason is None or move.step == "fail":
            return move
        if move.is_repeat:
            record.retries.append((before.name, reason))
        if move.is_higher:
            record.escalations.append(Escalation(before.name, ladder.current.name, reason))
        if move.step == "escalate" and ladder.is_skipped:
            record.best_effort = reason
        if self._contract is not None:
            self._contract.note_failure(failure.error, other_model=move.step == "escalate")
        return move

    def _settle_for_best(self, failure: Failure) -> Reply:
        """Return the best answer that was held back; without one, or if the client demands a confidence, raise."""
        best, record, route, reported = self._best, self._record, self._route, self._report or failure
        if best is None or self._call.routing.min_confidence is not None:
            error = reported.error
            raise error.refusal if isinstance(error, Misconfigured) and error.refusal and route.is_pinned else error
        best.attempt.failure = ""
        record.best_effort = reported.reason or "rejected"
        record.structured = best.structured
        return self._accept(best.reply, best.model)

    def _release(self) -> None:
        if self._lease is not None:
            self._lease.abandon(monotonic())
            self._lease.attempt.estimate_usage(self._call)
