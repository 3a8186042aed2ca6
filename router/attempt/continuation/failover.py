"""Who goes on with a stream that broke off after its beginning: a part of the dispatch, for one request."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from router.attempt import eligibility
from router.attempt.abilities import needs
from router.attempt.adapting import Adapting
from router.attempt.continuation.joint import Joint, closing_events
from router.attempt.continuation.plan import Plan, plan, with_kept_tokens
from router.attempt.continuation.sent import Sent
from router.attempt.continuation.token_count import count_tokens
from router.attempt.empty_answer import Expectation
from router.attempt.ending import end_attempt, end_failed
from router.attempt.event_source import EventSource
from router.attempt.failure import Failure, classify
from router.attempt.ladder import Ladder
from router.attempt.lease import acquire
from router.attempt.send import send
from router.attempt.stream_content import StreamContent
from router.config.models import Model
from router.errors import (
    AnswerDiverged,
    ApiError,
    Misconfigured,
    NotEligible,
    Overloaded,
    StructuredOutputViolation,
    UpstreamError,
    UpstreamRejected,
)
from router.messages.prompt import rough_tokens
from router.profile.learned import LearnedProfiles
from router.record import ContinuationOutcome, Escalation, RequestRecord
from router.replicas.pool import Lease, Pool
from router.structured.answer.stream_checker import StreamChecker
from router.structured.contract import OutputContract
from router.types import ChatCall
from router.upstream.base import Upstream
from router.upstream.dialects import DIALECTS

log = logging.getLogger("smallfirst.dispatch")

MAX_CONTINUATIONS = 2
"""requests sent to go on with one answer: a second one if the first replica fails, too; one that repeats the answer and
differs does not count"""


class Continuation(NamedTuple):
    """How a stream goes on: from a source, or with the events that end it."""

    source: EventSource | None = None
    joint: Joint | None = None
    checker: StreamChecker | None = None
    """has read what was sent; None if nothing is checked"""
    content: StreamContent | None = None
    """of an answer from the start; None: what read the beginning reads on"""
    closing: Sequence[bytes] = ()


Resume = Callable[[ApiError, Lease, Sequence[bytes]], Awaitable[Continuation | None]]
"""takes why a stream broke off, its lease, and the events that were sent; None: nobody goes on"""


class Shared(Protocol):
    """What all requests share, as far as it is needed here."""

    upstream: Upstream
    pools: Mapping[str, Pool]
    profiles: LearnedProfiles
    begins_inside_thoughts: set[str]


@dataclass(slots=True, eq=False)
class Failover:
    """Implements `Resume` for one request. `own` makes a lease the request's, which releases it at its end."""

    shared: Shared
    call: ChatCall
    record: RequestRecord
    ladder: Ladder
    contract: OutputContract | None
    own: Callable[[Lease], None]
    lease: Lease | None = field(default=None, init=False)
    """of the replica that was asked last to go on"""
    left: int = field(default=MAX_CONTINUATIONS, init=False)
    may_repeat: bool = field(default=True, init=False)
    """no replica has given another answer than the one that broke off"""

    @property
    def may_help(self) -> bool:
        """Return whether a stream of the current model could go on elsewhere: otherwise nothing need be kept of it."""
        has_others = len(self.shared.pools[self.ladder.current.name].replicas) > 1 or bool(self._later_models)
        return has_others and self.call.choices == 1 and self.call.routing.midstream != "error"

    async def __call__(self, error: ApiError, broken: Lease, events: Sequence[bytes]) -> Continuation | None:
        """Return how the stream goes on, or None if it cannot. From now on comments keep the client's connection."""
        if isinstance(error, StructuredOutputViolation):
            return None
        self.record.held = True
        broken.attempt.estimate_usage(self.call)
        found = None
        may_go_on = isinstance(error, UpstreamError | UpstreamRejected | Overloaded)
        if isinstance(error, AnswerDiverged):
            may_go_on, self.may_repeat = self._is_free and self.may_repeat, False
            self.left += may_go_on  # no replica has failed
        if may_go_on:
            found = await self._go_on(error, broken, Sent.of(events, self.call.endpoint))
        outcome: ContinuationOutcome = "diverged" if isinstance(error, AnswerDiverged) else "impossible"
        if found is not None and found.source is None:
            outcome, broken.attempt.failure = "ended", ""
        elif found is not None:
            outcome = "continued"
        self.record.continuations.append((broken.model.name, outcome))
        log.info("%s: %s broke off: %s: %s", self.record.request_id, broken.replica.name, error.code, outcome)
        return found

    async def _go_on(self, error: ApiError, broken: Lease, sent: Sent) -> Continuation | None:
        if sent.finish_reason or (self._is_free and self._is_at_limit(sent)):
            return self._closing(sent)
        ladder, failure = self.ladder, classify(error)
        if isinstance(error, AnswerDiverged):  # the replica is well: it may go on from the text
            failure = Failure(error, "upstream_error", retry=True)
        else:
            ladder.tried.append(broken.replica.name)
        place, tried, may_repeat = ladder.at, ladder.tried, failure.retry
        while self.left and (at := self._next(failure)) is not None:
            if at != ladder.at:
                ladder.at, ladder.tried = at, []
            try:
                return await self._ask(sent, broken, failure)
            except ApiError as refused:
                failure = self._give_up(refused)
        ladder.at, ladder.tried = place, tried
        if self.left and may_repeat and self._others(last_resort=True):
            try:
                return await self._ask(sent, broken, failure, last_resort=True)
            except ApiError as refused:
                self._give_up(refused)
        return None

    def _closing(self, sent: Sent) -> Continuation:
        return Continuation(closing=closing_events(self.call, sent, rough_tokens(self.call)))

    def _next(self, failure: Failure) -> int | None:
        """Return the place of the next model on the ladder: the same one if it has another replica."""
        if failure.retry and self._others():
            return self.ladder.at
        return next(iter(self._later_models), None)

    def _others(self, *, last_resort: bool = False) -> int:
        ladder = self.ladder
        return self.shared.pools[ladder.current.name].untried(monotonic(), ladder.tried, last_resort=last_resort)

    @property
    def _later_models(self) -> range:
        return range(self.ladder.at + 1, self.ladder.skipped_from)

    async def _ask(self, sent: Sent, broken: Lease, failure: Failure, *, last_resort: bool = False) -> Continuation:
        """Ask the ladder's current model for the rest; `last_resort`: even where its breaker advises against it.

        Raises:
            ApiError: it cannot go on, or its replica failed.
        """
        self.lease = None
        call, record, model = self.call, self.record, self.ladder.current
        dialect = DIALECTS[model.engine]
        adapting, asked = Adapting(self.shared.profiles, model.name, call, monotonic()), call
        if self.contract is not None:
            asked = await self.contract.adapt(model, dialect, refused=adapting.refuses_format)
            asked = self.contract.stop_early(asked, model, dialect)
        is_same = model.name == broken.model.name
        way = plan(asked, sent, model, dialect, is_free=self._is_free, is_same=is_same, may_repeat=self.may_repeat)
        if way is None:
            raise _unable(model, "with this answer")
        whole = asked
        if way.changes:
            asked = replace(asked.replaced(way.changes), size=asked.size + len(sent.content.encode()))
        eligibility.check(model, dialect, adapting.prepare(asked), needs(call), record.cost_nano_usd or 0)
        self.left -= 1
        lease = await self._lease(last_resort=last_resort)
        if way.kept_tokens:
            text = sent.thoughts + sent.content.removesuffix(way.again)
            kept = max(way.kept_tokens, await count_tokens(self.shared.upstream, lease, text) or 0)
            if whole.max_tokens is not None and kept >= whole.max_tokens:
                self._end(lease, "unneeded")
                sent.tokens = kept
                return self._closing(sent)
            way = with_kept_tokens(way, whole, kept)
            adapting.prepare(asked.replaced(way.changes))
        self._note_step(lease, broken, failure)
        source = await self._send(adapting, lease, way)
        record.continued_by.append(source.lease.replica.name)
        content = None
        if not way.kept_tokens:
            expected = Expectation.of(call, model, self.contract, self.shared.begins_inside_thoughts)
            content = StreamContent(expected, holds=False)
        return Continuation(source, Joint(call, sent, way), self._checker(model, sent), content)

    async def _send(self, adapting: Adapting, lease: Lease, way: Plan) -> EventSource:
        """Send the call, and again with something changed, while the upstream refuses what can be written otherwise."""
        record = self.record
        while True:
            lease.attempt.kept_tokens = way.kept_tokens
            record.attempts.append(lease.attempt)
            try:
                source = await send(
                    self.shared.upstream, adapting, lease, f"{record.request_id}-{len(record.attempts)}"
                )
            except UpstreamRejected as error:
                if not adapting.may_ask_again(error):
                    raise
                self._end(lease, "adapted")
            else:
                if dropped := way.essential.intersection(one.partition("=")[0] for one in lease.attempt.adapted):
                    raise _unable(self.ladder.current, f"without {', '.join(sorted(dropped))}")
                source.pace = None  # the client waits for it, fast or slow
                return source
            lease = await self._lease(last_resort=True)

    async def _lease(self, *, last_resort: bool) -> Lease:
        pool = self.shared.pools[self.ladder.current.name]
        if last_resort and pool.load_state is None:
            lease = pool.acquire(monotonic(), tried=self.ladder.tried, last_resort=True)
        else:
            lease = await acquire(pool, self.call, self.record, self.ladder)
        self.own(lease)
        self.lease = lease
        return lease

    def _note_step(self, lease: Lease, broken: Lease, failure: Failure) -> None:
        record, reason = self.record, failure.reason or "upstream_error"
        if lease.model.name == broken.model.name:
            record.retries.append((lease.model.name, reason))
        else:
            record.escalations.append(Escalation(broken.model.name, lease.model.name, reason))

    def _give_up(self, error: ApiError) -> Failure:
        """Classify why the current model does not go on, and release its lease if it has one."""
        failure, lease = classify(error), self.lease
        if isinstance(error, Misconfigured):
            name = self.ladder.current.name
            self.record.misconfigured.append((name, error.kind))
            self.shared.profiles.note_misconfigured(name, error.kind, error.told, monotonic())
        if lease is not None:
            failure, self.lease = end_failed(lease, self.call, monotonic(), failure, self.ladder.tried), None
        return failure

    def _end(self, lease: Lease, failure: str) -> None:
        end_attempt(lease, self.call, monotonic(), failure, "unknown")
        self.lease = None

    def _checker(self, model: Model, sent: Sent) -> StreamChecker | None:
        """Return a checker for the rest, which has read what was sent. What was held and not sent is forgotten."""
        if self.contract is None:
            return None
        checker = self.contract.plan_stream(model).checker
        for chunk in sent.chunks:
            checker.feed(chunk)
        if checker.is_holding:
            checker.sent = checker.choices()
        return checker

    @property
    def _is_free(self) -> bool:
        return self.contract is None or self.contract.is_free

    def _is_at_limit(self, sent: Sent) -> bool:
        limit = self.call.max_tokens
        return limit is not None and sent.tokens >= limit and not sent.has_other


def _unable(model: Model, how: str) -> NotEligible:
    return NotEligible(f"The model '{model.name}' cannot go on {how}.", reason="ability", code="unsupported_by_model")
