"""An answer's stream as the client may see it. It owns the lease of the replica that streams, until its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, NamedTuple

from router.attempt.continuation.failover import Resume
from router.attempt.continuation.joint import Joint
from router.attempt.continuation.sent import FRAME
from router.attempt.event_source import EventSource
from router.attempt.failure import classify
from router.attempt.stream_content import StreamContent
from router.errors import AnswerEmpty, ApiError, UpstreamError, UpstreamFailed
from router.judge.stream import StreamJudge
from router.messages.answer import DONE, StreamReader, cut_short, is_usage_chunk, usage_apart, write
from router.messages.error_inside import ErrorInside
from router.replicas.pool import Health
from router.structured.answer.assemble import endpoint_fields
from router.structured.answer.render_stream import render_stream
from router.structured.answer.stream_checker import StreamChecker
from router.structured.contract import Choices, Verify
from router.types import ChatCall
from router.upstream.base import MAX_BODY_BYTES

MAX_EVENTS_AT_ONCE = 256
"""events handed on together: a held answer leaves in pieces, and waits for its client between them"""


class StreamChecks(NamedTuple):
    """What an answer's events must pass before they leave."""

    content: StreamContent
    """tells whether there is something for the reader, and holds events until there is"""
    checker: StreamChecker | None = None
    """lets events leave while the answer can still have its format"""
    verify: Verify | None = None
    """checks the whole answer"""
    judge: StreamJudge | None = None
    """holds every event until it accepts the answer"""
    on_error: Callable[[ApiError], None] | None = None
    """is called with the error that ends a stream after its beginning; `begin` raises earlier ones"""
    on_hold: Callable[[], None] | None = None
    """is called while events are held because they are only thoughts or blanks"""
    resume: Resume | None = None
    """lets another replica go on after such an error"""


class AnswerStream:
    """Yields the event payloads that came together, without `[DONE]`.

    Raises ApiError if the upstream did not finish its answer and nobody went on with it, or if the answer broke its
    format.

    Attributes:
        content: what its events say to their reader.
        empty: after its end, the error of an answer that has nothing for its reader.
    """

    def __init__(self, call: ChatCall, source: EventSource, checks: StreamChecks) -> None:
        self._source = source
        self._lease = source.lease
        self.content, self._checker, self._verify, self._judge, self._on_error, self._on_hold, self._resume = checks
        self.empty: AnswerEmpty | None = None
        self._endpoint = call.endpoint
        self._keep_usage = call.include_usage
        self._reader = StreamReader(call.choices)
        self._frame: dict[str, Any] = {}
        self._usage: Any = None
        self._may_run = bool((call.body.get("stream_options") or {}).get("continuous_usage_stats"))
        self._usage_event = b""  # of a usage that came beside choices
        self._choices: Choices = ()
        self._ready: list[bytes] = []
        self._held: list[bytes] = []
        self._sent: list[bytes] = []  # kept only while another replica could go on
        self._kept_bytes = 0  # of events in these lists; a checker keeps the text of all events
        self._joint: Joint | None = None  # of an answer whose beginning another replica gave
        self._whole = False
        self._ended = False
        self._error: ApiError | None = None

    async def begin(self) -> None:
        """Read until the first content may leave: until then another upstream can still be asked instead.

        If the answer is empty, or the judge does not accept it, it is read to its end; its events stay available.

        Raises:
            ApiError: the upstream failed before, or the whole answer was held and broke its format.
        """
        while not self._begun and not self._ended:
            await self._read()
        if self._error and not self._begun:
            raise self._error
        self._lease.begin_answer()

    @property
    def _begun(self) -> bool:
        if self._joint is not None:
            return True
        if self._checker is not None and not self._checker.has_begun:
            return False
        if (self._judge is not None and not self._judge.accepted) or self._source.pace is not None:
            return False
        return not self.content.is_holding and (self._checker is not None or self._reader.has_begun)

    def __aiter__(self) -> AnswerStream:
        return self

    async def __anext__(self) -> list[bytes]:
        while not self._ready:
            if self._error:
                if not await self._go_on(self._error):
                    raise self._error
            elif self._ended:
                raise StopAsyncIteration
            else:
                await self._read()
        events, self._ready = self._ready, []
        if len(events) > MAX_EVENTS_AT_ONCE:
            events, self._ready = events[:MAX_EVENTS_AT_ONCE], events[MAX_EVENTS_AT_ONCE:]
        if self._resume is not None:
            self._sent += events
        elif self._checker is None:
            self._kept_bytes -= sum(map(len, events))
        return events

    async def _go_on(self, error: ApiError) -> bool:
        """Let another replica finish the answer; return whether one does. The broken one's lease is released."""
        if self._resume is None or not self._begun or self._source.is_overdue:
            return False
        found = await self._resume(error, self._lease, self._sent)
        if found is None:
            self._resume = None
            return False
        self._error, self._held = None, []
        if found.source is None:
            self._ready += found.closing
            return True
        self._source, self._joint, self._checker = found.source, found.joint, found.checker
        self.content = found.content or self.content
        self._lease, self._reader = found.source.lease, StreamReader(1)
        self._whole = self._ended = False
        return True

    async def _read(self) -> None:
        health: Health = "good"
        try:
            if self._whole:
                self._ended = True
                await self._source.drain()
            else:
                await self._read_events()
        except ApiError as error:
            if isinstance(error, UpstreamError):
                error.add_model_name(self._lease.model.name)
            self._error, self._ended = error, True
            if self._begun and self._on_error is not None:
                self._on_error(error)
            failure = classify(error)
            self._lease.attempt.failure = failure.reason or "rejected"
            # an answer that takes too long in all may just be long, or its client slow
            against = failure.speaks_against_replica and not self._source.is_overdue
            health = "bad" if against else "unknown"
        if self._ended:
            self._lease.release(monotonic(), health)

    async def _read_events(self) -> None:
        source, judge, content, reader = self._source, self._judge, self.content, self._reader
        is_to_be_read = not content.is_settled or self._joint is not None
        try:
            events = await (
                source.next_probed_events() if source.pace else source.exchange.next_events(source.may_wait_s())
            )
        except UpstreamError:
            if not reader.finished or (self._begun and self._resume is not None):
                raise
            events = []  # every choice is complete, so this is the end
        source.first_by = None
        try:
            for event in events:
                if event.strip() == DONE:
                    self._whole = True
                    break
                if judge is not None:
                    event = self._read_logprobs(event, judge)  # noqa: PLW2901 - without its logprobs
                chunk = reader.read(event)
                if reader.changed or is_to_be_read or b"<" in event or content.tag:  # the end of thoughts may begin
                    if (changed := self._change(chunk, event)) is None:
                        continue
                    chunk, event = changed  # noqa: PLW2901 - in OpenAI's form
                if reader.usage_beside and not self._may_run:
                    chunk, self._usage_event = usage_apart(chunk)
                    event = write(chunk)  # noqa: PLW2901 - its usage has an event of its own
                if self._keep_usage or not is_usage_chunk(chunk):
                    self._take(event, chunk)
                if judge is not None and content.is_visible and not (self._checker and self._checker.is_holding):
                    judge.judge_beginning()
        except ErrorInside as inside:
            raise source.refusal(inside.error) from None
        finally:
            self._lease.attempt.events = reader.events
            if reader.usage is not None or reader.service_tier or self._joint is not None:
                self._note_progress()
        if content.is_holding and reader.has_begun and self._on_hold is not None:
            self._on_hold()
        if self._kept_bytes > MAX_BODY_BYTES:
            self._forget_sent()
            if self._kept_bytes > MAX_BODY_BYTES:
                raise UpstreamFailed(f"the upstream's answer is longer than {MAX_BODY_BYTES} bytes")
        if self._whole or not events:
            self._whole = True
            await self._finish()
        if source.pace is not None:
            is_shown = source.pace.is_shown(reader.events, monotonic())
            source.pace = None if self._whole or reader.finished or is_shown else source.pace

    def _change(self, chunk: dict[str, Any], event: bytes) -> tuple[dict[str, Any], bytes] | None:
        """Return what may leave of an event, as a chunk and written, or None if another replica has sent all of it."""
        is_changed = self._reader.changed
        if self._reader.ran_away and (self._checker is None or self._checker.is_text_free):
            self._lease.attempt.ran_away = True
            chunk, is_changed = cut_short(chunk), True  # what is left says that it was cut
        if not self.content.is_settled:
            is_changed = self.content.read(chunk) or is_changed
        if b"<" in event or self.content.tag:
            self.content.learn(chunk)
        if self._joint is not None:
            if (joined := self._joint.join(chunk)) is None:
                return None
            chunk, is_changed = joined, True
        return chunk, write(chunk) if is_changed else event

    def _note_progress(self) -> None:
        attempt, reader = self._lease.attempt, self._reader
        attempt.usage, attempt.service_tier = reader.usage, reader.service_tier
        if self._joint is not None:
            attempt.whole_usage = self._joint.usage
            if reader.has_begun:
                self._lease.begin_answer()

    def _forget_sent(self) -> None:
        """Give up what another replica would need: an answer of this length ends where it breaks off."""
        self._resume, self._sent = None, []
        if self._checker is None:
            self._kept_bytes = sum(map(len, self._ready))

    def _read_logprobs(self, event: bytes, judge: StreamJudge) -> bytes:
        without_logprobs = judge.read(event)
        self._kept_bytes += 0 if judge.accepted else len(event) - len(without_logprobs)
        return without_logprobs

    async def _finish(self) -> None:
        """Check and judge the whole answer."""
        if not self._reader.finished:
            raise UpstreamFailed("the upstream ended its stream before it finished the answer")
        self.empty = self.content.fault(self._reader.usage)
        if self.empty is not None:  # there is nothing to check, and nothing to judge
            self._ready += self._held
            self._held = []
            if self._begun and self._on_error is not None:
                self._on_error(self.empty)
            return
        if self._checker and self._verify and self._checker.is_holding:
            await self._release_held(self._checker, self._verify)
        if self._keep_usage and self._usage_event and not self._reader.has_usage_event:
            self._ready.append(self._usage_event)
        if self._judge is not None:
            self._judge.judge_end(self._choices)

    def _take(self, event: bytes, chunk: Mapping[str, Any]) -> None:
        self._kept_bytes += len(event)
        if self._checker is None:
            self._ready.append(event)
            return
        if parts := chunk.get("choices"):
            self._frame = self._frame or {name: chunk[name] for name in FRAME if name in chunk}
            chunk = {**chunk, "choices": [endpoint_fields(part, self._endpoint) for part in parts]}
        if self._keep_usage:
            self._usage = chunk.get("usage") or self._usage
        self._held.append(event)
        if self._checker.feed(chunk):
            self._ready += self._held
            self._held.clear()

    async def _release_held(self, checker: StreamChecker, verify: Verify) -> None:
        """Let the held events leave: as they came, or written again if the check changed the answer."""
        self._choices = checker.unsettled_choices()
        if instead := await verify(self._choices, self._reader.usage):
            self._choices = instead
            sent = checker.sent
            if not self._begun:  # what the checker let pass has not left yet
                sent, self._ready = [], []
            self._held = render_stream(checker.with_settled(instead), sent, self._frame, self._held)
            if self._usage:
                self._held.append(write({**self._frame, "choices": [], "usage": self._usage}))
        self._ready += self._held
        self._held = []
