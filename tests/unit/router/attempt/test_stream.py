from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from time import monotonic
from typing import Any

import pytest

from router.attempt.empty_answer import Expectation
from router.attempt.event_source import DRAIN_S, EventSource
from router.attempt.stream import AnswerStream, StreamChecks
from router.attempt.stream_content import StreamContent
from router.config.model_options import Timeouts
from router.errors import (
    ApiError,
    Overloaded,
    StructuredOutputViolation,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)
from router.replicas.pool import Lease, Pool
from router.structured.answer.stream_checker import Mode, StreamChecker
from router.structured.constraint import Constraint, OutputFormat
from router.types import Usage
from router.upstream.dialects.openai import OpenAIDialect
from router.upstream.dialects.vllm import VllmDialect
from tests.support.fakes import DONE, HANG, ROLE, STREAM, FakeExchange, call, chunk, model, pool, read_into, usage_chunk

STOP = chunk(finish="stop")
ANY_OBJECT = Constraint(OutputFormat("json_object", "response_format"))


def broken(_kind: object, fault: str, _choice: object) -> StructuredOutputViolation:
    return StructuredOutputViolation(fault)


class Case:
    """One stream over a fake exchange, and what became of its lease."""

    def __init__(
        self,
        steps: Sequence[Any],
        *,
        first_s: float = 60.0,
        total_s: float = 600.0,
        idle_s: float = 30.0,
        held: bool = False,
        pace: Mode = "hold",
        holds: bool = False,
        begins_inside: bool = False,
        **of_call: Any,
    ) -> None:
        self.pool: Pool = pool(model(timeouts=Timeouts(idle_s=idle_s)))
        self.lease: Lease = self.pool.acquire(monotonic())
        self.exchange = FakeExchange(steps=steps)
        self.lease.exchange = self.exchange
        now = monotonic()
        one = call(stream=True, **of_call)
        self.judged: Any = None
        self.instead: Any = None
        source = EventSource(self.lease, self.exchange, VllmDialect(), now, now + first_s, now + total_s)
        self.begins_inside = set[str]({"slm"} if begins_inside else ())
        self.faults: list[ApiError] = []
        self.was_held = False
        expected = Expectation(one, self.lease.model, not held, self.begins_inside)
        content = StreamContent(expected, holds=holds)
        checks = StreamChecks(content, on_error=self.faults.append, on_hold=self.note_hold)
        if held:
            checks = checks._replace(checker=StreamChecker(ANY_OBJECT, pace, broken), verify=self.verify)
        self.stream = AnswerStream(one, source, checks)

    async def verify(self, choices: Any, usage: Any) -> Any:
        self.judged = choices, usage
        if isinstance(self.instead, ApiError):
            raise self.instead
        return self.instead

    def note_hold(self) -> None:
        self.was_held = True

    async def rest(self) -> list[bytes]:
        return [event async for together in self.stream for event in together]

    async def until_error(self) -> tuple[list[bytes], ApiError]:
        events: list[bytes] = []
        with pytest.raises(ApiError) as caught:
            await read_into(events, self.stream)
        return events, caught.value

    @property
    def health(self) -> str:
        """What the release said: the breaker starts with one failure, so that each word shows."""
        assert self.pool.status(monotonic()).in_flight == 0, "the lease is still held"
        assert self.exchange.closed == 1, "released once, and the exchange closed"
        failures = self.pool.replicas[0].breaker.failures
        return {0: "good", 1: "unknown", 2: "bad"}[failures]


@pytest.fixture(autouse=True)
def _one_failure_before(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Pool.acquire

    def acquire(self: Pool, now: float, **kwargs: Any) -> Lease:
        self.replicas[0].breaker.failures = 1
        return start(self, now, **kwargs)

    monkeypatch.setattr(Pool, "acquire", acquire)


async def test_a_whole_stream() -> None:
    case = Case(STREAM)
    await case.stream.begin()
    assert await case.rest() == [ROLE, chunk("Pa"), chunk("ris."), STOP]
    assert case.lease.attempt.usage == Usage(prompt=10, completion=5)
    assert case.lease.attempt.failure == ""
    assert case.health == "good"


async def test_begin_reads_no_further_than_the_first_content() -> None:
    case = Case(STREAM)
    await case.stream.begin()
    assert len(case.exchange.waits) == 2
    assert case.pool.status(monotonic()).in_flight == 1


async def test_usage_reaches_only_who_asked() -> None:
    assert usage_chunk() not in await Case(STREAM).rest()
    assert (await Case(STREAM, usage=True).rest())[-1] == usage_chunk()


BESIDE = {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}


@pytest.mark.parametrize("in_choice", [False, True])
async def test_usage_beside_choices_gets_an_event_of_its_own_if_it_is_wanted(in_choice: bool) -> None:
    last = json.loads(STOP)
    both = {**last, "choices": [{**last["choices"][0], **BESIDE}]} if in_choice else {**last, **BESIDE}
    for wanted in (False, True):
        case = Case([[ROLE, chunk("x"), json.dumps(both).encode()], [DONE]], usage=wanted)
        events = [json.loads(event) for event in await case.rest()]
        assert events[2] == last
        assert events[3:] == ([{"id": "x", "choices": [], **BESIDE}] if wanted else [])
        assert case.lease.attempt.usage == Usage(prompt=3, completion=1)


async def test_usage_on_every_event_is_told_once() -> None:
    events = [json.dumps({**json.loads(one), **BESIDE}).encode() for one in (ROLE, chunk("x"), STOP)]
    case = Case([[*events, usage_chunk()], [DONE]], usage=True)
    got = await case.rest()
    assert [json.loads(event) for event in got[:3]] == [json.loads(one) for one in (ROLE, chunk("x"), STOP)]
    assert got[3:] == [usage_chunk()]


async def test_what_is_held_is_read_to_its_end_and_judged() -> None:
    case = Case(STREAM, held=True)
    await case.stream.begin()
    (choice,), usage = case.judged
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Paris.", "stop")
    assert usage == case.lease.attempt.usage
    assert case.health == "good"
    assert await case.rest() == [ROLE, chunk("Pa"), chunk("ris."), STOP]


async def test_what_the_judge_changed_leaves_changed_with_its_usage() -> None:
    case = Case([[ROLE, chunk("```{}```"), STOP], [usage_chunk(), DONE]], held=True, usage=True)
    case.instead = [{"index": 0, "message": {"role": "assistant", "content": "{}"}, "finish_reason": "stop"}]
    events = await case.rest()
    deltas = [one["delta"] for event in events[:-1] for one in json.loads(event)["choices"]]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "{}"}, {}]
    assert json.loads(events[-1]) == json.loads(usage_chunk())


async def test_usage_beside_choices_is_told_again_on_its_own() -> None:
    last = json.loads(STOP) | {"usage": {"prompt_tokens": 1}}
    for asked_for in (True, False):
        case = Case([[chunk("```{}```"), json.dumps(last).encode(), DONE]], held=True, usage=asked_for)
        case.instead = [{"index": 0, "message": {"role": "assistant", "content": "{}"}, "finish_reason": "stop"}]
        told = [json.loads(event) for event in await case.rest()]
        assert [event["usage"] for event in told if "usage" in event] == [{"prompt_tokens": 1}] * asked_for


async def test_what_is_told_again_has_the_frame_of_the_answer() -> None:
    before = b'{"id": "", "model": "", "choices": [], "prompt_filter_results": []}'
    case = Case([[before, chunk("```{}```"), STOP, DONE]], held=True)
    case.instead = [{"index": 0, "message": {"role": "assistant", "content": "{}"}, "finish_reason": "stop"}]
    assert {json.loads(event)["id"] for event in await case.rest()} == {"x"}


async def test_what_the_judge_refuses_never_leaves() -> None:
    case = Case(STREAM, held=True)
    case.instead = StructuredOutputViolation("no")
    with pytest.raises(StructuredOutputViolation):
        await case.stream.begin()
    assert case.lease.attempt.failure == "structured"
    assert case.health == "unknown"


async def test_a_held_answer_leaves_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.attempt.stream.MAX_EVENTS_AT_ONCE", 2)
    case = Case([[ROLE], [chunk("a"), chunk("b"), chunk("c")], [STOP, DONE]], held=True)
    await case.stream.begin()
    assert [together async for together in case.stream] == [[ROLE, chunk("a")], [chunk("b"), chunk("c")], [STOP]]


async def test_what_waits_for_the_client_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.attempt.stream.MAX_BODY_BYTES", 1000)
    case = Case([[ROLE], *([chunk("x" * 100)] for _ in range(20)), [STOP, DONE]], held=True)
    with pytest.raises(UpstreamFailed, match="longer than 1000 bytes"):
        await case.stream.begin()
    assert case.health == "bad"
    streaming = Case([[ROLE], *([chunk("x" * 100)] for _ in range(20)), [STOP, DONE]])
    assert len(await streaming.rest()) == 22, "what the client takes does not count"


async def test_what_is_followed_has_the_same_bound_for_its_text_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.attempt.stream.MAX_BODY_BYTES", 1000)
    steps = [[chunk('{"a": "')], *([chunk("x" * 100)] for _ in range(20))]
    case = Case(steps, held=True, pace="check")
    events, error = await case.until_error()
    assert "longer than 1000 bytes" in str(error)
    assert len(events) > 1


async def test_an_end_without_done_after_the_answer_is_an_end() -> None:
    case = Case([[ROLE], [chunk("x"), STOP]])
    assert await case.rest() == [ROLE, chunk("x"), STOP]
    assert case.health == "good"


async def test_all_in_one_batch() -> None:
    case = Case([[ROLE, chunk("x"), STOP, usage_chunk(), DONE]])
    await case.stream.begin()
    assert await case.rest() == [ROLE, chunk("x"), STOP]
    assert case.health == "good"


@pytest.mark.parametrize("done", [b"[DONE] ", b" [DONE]", b"[DONE]\r", b"\t[DONE] "])
async def test_done_with_a_space_is_done(done: bytes) -> None:
    case = Case([[chunk("x"), STOP, done, chunk("evil")], [chunk("more")]])
    assert await case.rest() == [chunk("x"), STOP]
    assert case.health == "good"
    case = Case([[chunk("x"), done]])
    _, raised = await case.until_error()
    assert "before it finished" in raised.message, "but no answer by itself"
    assert case.health == "bad"


@pytest.mark.parametrize("junk", [b'{"choices": [], "x": NaN}', json.dumps({"choices": []}).encode("utf-16")])
async def test_an_event_that_is_no_json_ends_the_stream(junk: bytes) -> None:
    case = Case([[ROLE, chunk("x")], [junk]])
    events, raised = await case.until_error()
    assert events == [ROLE, chunk("x")]
    assert isinstance(raised, UpstreamFailed)
    assert case.health == "bad"


async def test_what_comes_after_done_is_no_part_of_the_answer() -> None:
    case = Case([[chunk("x"), STOP, DONE, chunk("evil")], *[[chunk("more")]] * 50])
    assert await case.rest() == [chunk("x"), STOP]
    assert case.health == "good"
    assert len(case.exchange.waits) == 2, "an upstream that never stops is not listened to for ever"


async def test_the_last_words_do_not_wait_for_the_connection_to_end() -> None:
    case = Case([[chunk("x"), STOP, DONE], HANG])
    await case.stream.begin()
    async with asyncio.timeout(5):
        assert await anext(case.stream) == [chunk("x"), STOP]
    assert case.exchange.waits == pytest.approx([60], abs=1)


async def test_a_connection_that_does_not_end_after_done_spoils_nothing() -> None:
    case = Case([[chunk("x"), STOP, DONE], UpstreamTimedOut("x")])
    assert await case.rest() == [chunk("x"), STOP]
    assert case.exchange.waits[-1] == DRAIN_S
    assert case.health == "good"


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    ("last", "health", "error"),
    [
        ([], "bad", UpstreamFailed),  # the end, and nothing finished
        ([DONE], "bad", UpstreamFailed),
        ([usage_chunk(), DONE], "bad", UpstreamFailed),
        (UpstreamFailed("cut"), "bad", UpstreamFailed),
        (UpstreamTimedOut("stall"), "bad", UpstreamTimedOut),
        ([b"{"], "bad", UpstreamFailed),
        ([b'{"choices": 5}'], "bad", UpstreamFailed),
        ([b'{"choices": ["x"]}'], "bad", UpstreamFailed),
        ([b'{"error": {"message": "boom", "code": 500}}'], "bad", UpstreamFailed),
        ([b'{"error": "boom"}'], "bad", UpstreamFailed),
        ([b'{"error": {"message": "boom", "code": true}}'], "bad", UpstreamFailed),
        ([b'{"error": {"message": "slow down", "code": "429"}}'], "unknown", UpstreamRejected),
        ([b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}'], "unknown", UpstreamRejected),
        ([b'{"code": 503, "message": "full"}'], "unknown", Overloaded),
        ([b'{"object": "error", "message": "boom", "type": "InternalServerError"}'], "bad", UpstreamFailed),
        ([b'{"detail": "boom"}'], "bad", UpstreamFailed),
        ([b'{"choices": [{"index": 0, "error": {"message": "full", "code": 503}}]}'], "unknown", Overloaded),
        ([b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}'], "bad", UpstreamFailed),
        ([b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "Abort"}]}'], "bad", UpstreamFailed),
        ([b'{"error": {"message": "bad grammar", "code": 400}}', DONE], "unknown", UpstreamRejected),
        ([b'{"error": {"message": "slow down", "code": 429}}'], "unknown", UpstreamRejected),
        ([b'{"error": {"message": "full", "code": 503}}'], "unknown", Overloaded),
        ([b'{"error": {"message": "sk-canary", "code": 401}}'], "unknown", UpstreamFailed),
    ],
)
async def test_errors(begun: bool, last: Any, health: str, error: type[ApiError]) -> None:
    before = [[ROLE], [chunk("Pa")]] if begun else [[ROLE]]
    case = Case([*before, last])
    if begun:
        await case.stream.begin()
        events, raised = await case.until_error()
        assert events == [ROLE, chunk("Pa")], "what came before the error is delivered first"
    else:
        with pytest.raises(error) as caught:
            await case.stream.begin()
        raised = caught.value
    assert isinstance(raised, error)
    assert "canary" not in json.dumps(raised.body())
    assert case.lease.attempt.failure not in ("", None)
    assert case.health == health


async def test_what_comes_in_one_batch_with_the_error_is_delivered_before_it() -> None:
    case = Case([[ROLE, chunk("Pa"), b'{"error": "boom"}', chunk("never")]])
    await case.stream.begin()
    events, raised = await case.until_error()
    assert events == [ROLE, chunk("Pa")]
    assert "boom" in raised.message
    with pytest.raises(UpstreamFailed):
        await anext(case.stream)
    assert case.health == "bad"


async def test_of_a_held_answer_that_breaks_off_nothing_is_delivered() -> None:
    case = Case([[ROLE, chunk("Pa")], UpstreamFailed("cut")], held=True)
    with pytest.raises(UpstreamFailed, match="cut"):
        await case.stream.begin()
    assert case.health == "bad"


async def test_the_schema_that_vllm_refuses_within_a_stream() -> None:
    refused = {"message": "Failed to transform json schema into a grammar: x", "type": "BadRequestError", "code": 400}
    case = Case([[json.dumps({"error": refused}).encode(), DONE]])
    with pytest.raises(UpstreamRejected) as caught:
        await case.stream.begin()
    assert (caught.value.status, caught.value.code) == (400, "unsupported_schema")


async def test_one_of_two_choices_unfinished_is_a_cut() -> None:
    case = Case([[chunk("a"), chunk("b", index=1), chunk(finish="stop"), DONE]], n=2)
    _, raised = await case.until_error()
    assert isinstance(raised, UpstreamFailed)


async def test_completions() -> None:
    def text(piece: str, finish: str | None = None) -> bytes:
        return json.dumps({"choices": [{"index": 0, "text": piece, "finish_reason": finish}]}).encode()

    case = Case([[text("Pa")], [text("ris", "length")], [DONE]], endpoint="completions", prompt="x")
    await case.stream.begin()
    assert await case.rest() == [text("Pa"), text("ris", "length")]


async def test_limits_of_each_wait() -> None:
    case = Case(STREAM, first_s=7, idle_s=3, total_s=100)
    await case.rest()
    assert case.exchange.waits == pytest.approx([7, 3, 3, 3, DRAIN_S], abs=0.5)


async def test_no_wait_is_longer_than_what_is_left_of_all() -> None:
    case = Case(STREAM, first_s=70, idle_s=60, total_s=5)
    await case.rest()
    assert case.exchange.waits == pytest.approx([5] * 4 + [DRAIN_S], abs=0.5)


async def test_a_slow_client_is_not_the_upstreams_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(STREAM, idle_s=30, total_s=1000)
    await case.stream.begin()
    assert await anext(case.stream) == [ROLE, chunk("Pa")]
    later = monotonic() + 500  # the client took its time
    monkeypatch.setattr("router.attempt.event_source.monotonic", lambda: later)
    assert await anext(case.stream) == [chunk("ris."), STOP]
    assert case.exchange.waits[-1] == 30


async def test_an_answer_without_end_is_ended_and_the_replica_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case([[ROLE], *[[chunk("x")]] * 1000], total_s=100)
    await case.stream.begin()
    later = monotonic() + 100
    monkeypatch.setattr("router.attempt.event_source.monotonic", lambda: later)
    _, raised = await case.until_error()
    assert isinstance(raised, UpstreamTimedOut)
    assert case.health == "unknown"


async def test_a_cancelled_reader_leaves_the_lease_to_its_owner() -> None:
    case = Case([[ROLE], [chunk("Pa")], HANG])
    await case.stream.begin()
    task = asyncio.ensure_future(case.rest())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert case.pool.status(monotonic()).in_flight == 1
    case.lease.release(monotonic(), "unknown")
    assert case.health == "unknown"


async def test_the_dialect_reads_the_error() -> None:
    body = json.dumps({"error": {"message": "too long", "code": "context_length_exceeded", "type": "x"}}).encode()
    case = Case([[body]])
    case.stream._dialect = OpenAIDialect()
    with pytest.raises(UpstreamRejected) as caught:
        await case.stream.begin()
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")


THOUGHT = chunk(reasoning_content="Hm.")


async def test_thoughts_leave_at_once_where_nobody_else_can_be_asked() -> None:
    case = Case([[ROLE, THOUGHT], [chunk("Paris."), STOP, DONE]])
    await case.stream.begin()
    assert len(case.exchange.waits) == 1
    assert await case.rest() == [ROLE, THOUGHT, chunk("Paris."), STOP]
    assert not case.was_held


@pytest.mark.parametrize("early", [THOUGHT, chunk(" \n"), chunk("\u200b")])
async def test_thoughts_and_blanks_wait_for_the_answer_where_another_model_could_give_one(early: bytes) -> None:
    case = Case([[ROLE, early], [early], [chunk("Paris.")], [STOP, DONE]], holds=True)
    await case.stream.begin()
    assert len(case.exchange.waits) == 3
    assert case.was_held
    events = [json.loads(event)["choices"][0]["delta"] for event in await case.rest()]
    said = "".join(event.get("content", "") for event in events)
    assert (said.strip(" \n\u200b"), len(events)) == ("Paris.", 5), "none is lost"


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize(("finish", "room"), [("stop", None), ("length", 40)])
async def test_a_stream_of_thoughts_alone_is_empty(finish: str, room: int | None, holds: bool) -> None:
    case = Case([[ROLE, THOUGHT], [chunk(finish=finish), DONE]], holds=holds, max_tokens=10)
    await case.stream.begin()
    assert await case.rest() == [ROLE, THOUGHT, chunk(finish=finish)], "it may be the best that there is"
    assert case.stream.empty is not None
    assert (case.stream.empty.only_thoughts, case.stream.empty.room) == (True, room)
    assert case.faults == ([] if holds else [case.stream.empty]), "what has left cannot be asked again"
    assert case.health == "good", "and its replica did its work"


async def test_a_completion_of_blanks_is_one() -> None:
    def text(piece: str, finish: str | None = None) -> bytes:
        return json.dumps({"choices": [{"index": 0, "text": piece, "finish_reason": finish}]}).encode()

    case = Case([[text("\n")], [text("", "stop")], [DONE]], endpoint="completions", prompt="x", holds=True)
    await case.stream.begin()
    assert len(case.exchange.waits) == 1
    await case.rest()
    assert case.stream.empty is None


async def test_a_held_answer_is_cut_within_its_thoughts() -> None:
    case = Case([[ROLE, THOUGHT, chunk(finish="length"), DONE]], held=True, holds=True)
    await case.stream.begin()
    assert case.judged is None, "there is nothing to check"
    assert case.stream.empty is not None
    assert await case.rest() == [ROLE, THOUGHT, chunk(finish="length")]


@pytest.mark.parametrize(("holds", "pace"), [(True, "check"), (False, "check"), (True, "hold"), (False, "hold")])
async def test_an_answer_that_stood_in_the_thoughts_leaves_as_content(holds: bool, pace: Mode) -> None:
    case = Case([[ROLE, chunk(reasoning_content="{}"), STOP], [usage_chunk(), DONE]], held=True, holds=holds, pace=pace)
    case.instead = [{"index": 0, "message": {"role": "assistant", "content": "{}"}, "finish_reason": "stop"}]
    await case.stream.begin()
    deltas = [json.loads(event)["choices"][0]["delta"] for event in await case.rest()]
    assert "".join(delta.get("content") or "" for delta in deltas) == "{}"
    has_left = not holds and pace == "check"
    assert any("reasoning_content" in delta for delta in deltas) is has_left


def said(events: list[bytes]) -> tuple[str, str, list[str]]:
    """Return the thoughts, the content, and the reasons of the end."""
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    deltas = [choice["delta"] for choice in choices]
    return (
        "".join(delta.get("reasoning_content") or "" for delta in deltas),
        "".join(delta.get("content") or "" for delta in deltas),
        [choice["finish_reason"] for choice in choices if choice["finish_reason"]],
    )


async def test_thoughts_have_one_name_and_the_end_one_of_five_words() -> None:
    case = Case([[ROLE, chunk(reasoning="Hm."), chunk("Paris.", tool_calls=[]), chunk(finish="end_turn"), DONE]])
    events = await case.rest()
    assert said(events) == ("Hm.", "Paris.", ["stop"])
    assert b"tool_calls" not in b"".join(events)


async def test_thoughts_in_the_content_are_moved_while_they_come() -> None:
    case = Case([[ROLE, chunk("<think>")], [chunk("Hm.")], [chunk("</think>"), chunk("Paris."), STOP, DONE]])
    assert said(await case.rest()) == ("Hm.", "Paris.", ["stop"])


async def test_where_a_format_is_asked_for_nothing_is_moved_before_the_check() -> None:
    case = Case([[ROLE, chunk('{"a": "</think>"}'), STOP, DONE]], held=True)
    assert said(await case.rest())[1] == '{"a": "</think>"}'


async def test_a_model_that_begins_inside_its_thoughts_is_known_from_then_on() -> None:
    steps = [[ROLE, chunk("Hm.")], [chunk("</think>"), chunk("Paris."), STOP, DONE]]
    first = Case(steps)
    assert said(await first.rest()) == ("", "Hm.</think>Paris.", ["stop"]), "what has left cannot be moved"
    assert first.begins_inside == {"slm"}
    cut = Case([[ROLE, chunk("Hm.<"), chunk("/thi"), chunk("nk>Paris."), STOP, DONE]])
    await cut.rest()
    assert cut.begins_inside == {"slm"}
    second = Case(steps, begins_inside=True)
    assert said(await second.rest()) == ("Hm.", "Paris.", ["stop"])
    assert second.begins_inside == {"slm"}
    without = Case([[ROLE, chunk("Paris.")], [STOP, DONE]], begins_inside=True)
    assert said(await without.rest()) == ("Paris.", "Paris.", ["stop"])
    assert without.begins_inside == set(), "one without thoughts shows that it does not always think"


async def test_an_event_that_needs_no_change_keeps_its_bytes() -> None:
    odd = b'{"id":"x",  "choices":[{"index":0,"delta":{"content":"\\u00e9"},"finish_reason":null}]}'
    assert (await Case([[ROLE, odd, STOP, DONE]]).rest())[1] is odd
