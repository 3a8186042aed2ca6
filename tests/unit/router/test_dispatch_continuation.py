"""A stream that breaks off after its beginning goes on elsewhere, or ends in an error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from router.errors import (
    AnswerDiverged,
    ApiError,
    StructuredOutputViolation,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)
from router.replicas.liveness import Unwatched
from router.types import Usage
from server.http.relay import summary
from tests.support.cut_answers import OTHER_FRAME, assembled, call_piece, delta, deltas, event, usage
from tests.support.failing import AS_PERSON, GOOD
from tests.support.fakes import DONE, HANG, QUESTION, FakeExchange, call, large, model, refuses
from tests.support.inprocess import Dispatching

CUT = UpstreamFailed("cut")
TEXT = [{"content": piece} for piece in ("Once", " upon", " a", " time", ".")]
BEGUN = [[one] for one in deltas(TEXT)[:3]]
"""`Once upon`, and the role before it"""
REST = [[one] for one in [*deltas(TEXT[2:], frame=OTHER_FRAME), usage(12, 4, OTHER_FRAME), DONE]]
WHOLE = "Once upon a time."
TOOL = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}
BREAKS: dict[str, Any] = {
    "cut": CUT,
    "end": [],
    "done": [DONE],
    "silence": UpstreamTimedOut("idle"),
    "error event": [b'{"error": {"message": "boom", "code": 500}}'],
    "overload": [b'{"error": {"message": "full", "code": 503}}'],
    "rate limit": [b'{"error": {"message": "slow", "code": 429}}'],
    "abort": [event({"delta": {}, "finish_reason": "abort"})],
    "no JSON": [b"{"],
}


def in_turn(*plays: Any) -> Callable[[], Any]:
    """The answers of all replicas of a model, in the order in which these are asked: steps, or errors to raise."""
    left = list(plays)

    def play() -> Any:
        one = left.pop(0)
        return FakeExchange(steps=list(one)) if isinstance(one, list) else one() if callable(one) else one

    return play


def pair(*plays: Any, behind: Any = None, replicas: int = 2, **entry: Any) -> Dispatching:
    """A model with several replicas, which play these in turn, and a large one behind it."""
    play = in_turn(*plays)
    script: dict[str, list[Any]] = {f"slm-{i}": [play] for i in range(replicas)}
    if isinstance(behind, list):
        script["llm-0"] = [in_turn(behind)]
    llm = large(**(entry.pop("llm", {})))
    return Dispatching([model(replicas=replicas, **entry), llm], script)


@pytest.mark.parametrize("kind", BREAKS)
async def test_free_text_goes_on_at_another_replica(kind: str) -> None:
    gateway = pair([*BEGUN, BREAKS[kind]], REST)
    got = assembled(await gateway.ask(call(stream=True, usage=True, max_tokens=20)))
    assert (got["content"], got["finish"], got["roles"]) == (WHOLE, ["stop"], 1)
    assert got["usages"] == [{"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16}]
    first, second = gateway.upstream.sent
    assert first.url != second.url
    assert second.body["messages"] == [*QUESTION, {"role": "assistant", "content": "Once upon"}]
    assert second.body["continue_final_message"] is True
    assert second.body["add_generation_prompt"] is False
    assert second.body["max_tokens"] == 18
    gateway.all_is_released()


async def test_the_record_names_both_and_both_are_billed() -> None:
    gateway = pair([*BEGUN, CUT], REST)
    await gateway.ask(stream=True)
    record = gateway.record
    (broken, _), (other, failure) = gateway.tried
    assert (gateway.tried[0][1], failure) == ("upstream_error", "")
    assert broken != other
    assert record.continuations == [("slm", "continued")]
    assert record.continued_by == [other]
    assert record.retries == [("slm", "upstream_error")]
    assert record.escalations == []
    first, second = record.attempts
    assert first.estimate == Usage(prompt=7, completion=2)
    assert second.usage == Usage(12, completion=4)
    assert record.usage == Usage(10, completion=6)
    assert record.cost_nano_usd == first.cost_nano_usd + second.cost_nano_usd  # type: ignore[operator]
    assert record.fallback_cost_nano_usd == 10 * 400 + 6 * 1600
    said = json.loads(summary(record).removeprefix(b": smallfirst "))
    assert (said["model"], said["continued_by"], said["attempts"]) == ("slm", [other], 2)
    replicas = {one.name: one.breaker.failures for one in gateway.pools["slm"].replicas}
    assert replicas == {broken: 1, other: 0}


async def test_a_stream_that_does_not_break_has_no_such_words() -> None:
    gateway = pair([[one] for one in [*deltas(TEXT), DONE]])
    await gateway.ask(stream=True)
    assert b"continued_by" not in summary(gateway.record)
    assert gateway.record.continuations == []
    assert not gateway.record.held


async def test_the_next_rung_goes_on_if_it_can() -> None:
    gateway = pair([*BEGUN, CUT], behind=REST, replicas=1, llm={"prefill": True})
    got = assembled(await gateway.ask(call(stream=True, usage=True)))
    assert (got["content"], got["finish"]) == (WHOLE, ["stop"])
    sent = gateway.upstream.sent[-1].body
    assert sent["messages"] == [*QUESTION, {"role": "assistant", "content": "Once upon"}]
    assert "continue_final_message" not in sent
    assert gateway.steps == [("slm", "llm", "upstream_error")]
    assert gateway.record.model == "slm"
    assert gateway.record.continued_by == ["llm/0"]
    assert gateway.record.attempts[1].cost_nano_usd == 12 * 400 + 4 * 1600
    gateway.all_is_released()


@pytest.mark.parametrize(
    ("llm", "fields"),
    [
        ({}, {}),
        ({"prefill": True}, {"routing": {"allow_fallback": False}}),
        ({"prefill": True}, {"routing": {"midstream": "error"}}),
        ({"prefill": True, "context": 1}, {}),
        ({"prefill": True}, {"routing": {"max_cost_usd": 1e-9}}),
        ({"prefill": True}, {"n": 2}),
        ({"prefill": False, "engine": "vllm"}, {}),
    ],
    ids=["cannot", "not allowed", "off", "too long", "too dear", "n", "prefill off"],
)
async def test_where_nobody_can_go_on_it_ends_in_an_error(llm: dict[str, Any], fields: dict[str, Any]) -> None:
    gateway = pair([*BEGUN, CUT], behind=REST, replicas=1, llm=llm, price=None if "n" in fields else model().price)
    got, error = await gateway.breaks(UpstreamFailed, **fields)
    assert assembled(got)["content"] == "Once upon"
    assert error.message == "Model 'slm': cut"
    assert gateway.upstream.hosts == ["slm-0"]
    gateway.all_is_released()


async def test_what_was_sent_counts_as_prompt_for_the_most_that_it_may_cost() -> None:
    """A dollar buys 2.5 million tokens of prompt: the question fits, the answer so far does not."""
    long = "x" * 3000
    begun = [[delta(content=long)], CUT]
    rest = [[delta(content="y")], [event({"delta": {}, "finish_reason": "stop"})], [DONE]]
    fields = {"max_tokens": 10, "routing": {"max_cost_usd": 0.0015}}
    gateway = pair(begun, behind=rest, replicas=1, llm={"prefill": True})
    assert assembled(await gateway.ask(stream=True, max_tokens=10))["content"] == long + "y"
    gateway = pair(begun, behind=rest, replicas=1, llm={"prefill": True})
    assert assembled(await gateway.ask(stream=True, **fields))["content"] == long + "y"
    fields["routing"] = {"max_cost_usd": 0.0011}
    gateway = pair(begun, behind=rest, replicas=1, llm={"prefill": True})
    await gateway.breaks(UpstreamFailed, **fields)


async def test_midstream_error_turns_it_off_for_replicas_too() -> None:
    gateway = pair([*BEGUN, CUT], REST)
    await gateway.breaks(UpstreamFailed, routing={"midstream": "error"})
    assert len(gateway.upstream.sent) == 1


async def test_what_is_impossible_is_counted() -> None:
    gateway = pair([*BEGUN, CUT], replicas=1)
    await gateway.breaks(UpstreamFailed)
    assert gateway.record.continuations == [("slm", "impossible")]


@pytest.mark.parametrize("second", [refuses(500), UpstreamFailed("refused", code="upstream_unreachable"), [CUT], [[]]])
async def test_a_second_replica_that_fails_is_replaced_once_more(second: Any) -> None:
    gateway = pair([*BEGUN, CUT], second, REST, replicas=3)
    got = assembled(await gateway.ask(stream=True))
    assert (got["content"], got["finish"]) == (WHOLE, ["stop"])
    assert len({sent.url for sent in gateway.upstream.sent}) == 3
    assert [failure for _, failure in gateway.tried][2] == ""
    gateway.all_is_released()


async def test_two_cuts_in_one_answer() -> None:
    middle = [[one] for one in deltas(TEXT[2:4], frame=OTHER_FRAME)[:-1]]
    last = [[one] for one in [*deltas(TEXT[4:], frame=OTHER_FRAME), usage(14, 2), DONE]]
    gateway = pair([*BEGUN, CUT], [*middle, CUT], last, replicas=3)
    got = assembled(await gateway.ask(call(stream=True, usage=True, max_tokens=9)))
    assert (got["content"], got["finish"]) == (WHOLE, ["stop"])
    assert got["usages"] == [{"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16}]
    assert gateway.upstream.sent[-1].body["max_tokens"] == 5
    assert gateway.record.attempts[1].estimate == Usage(7 + 2, completion=2)
    assert gateway.record.continuations == [("slm", "continued")] * 2


async def test_it_does_not_go_on_for_ever() -> None:
    piece = [[delta(content="x")], CUT]
    gateway = pair([[delta(content="x")], CUT], *[piece] * 5, replicas=6)
    got, _ = await gateway.breaks(UpstreamFailed)
    assert assembled(got)["content"] == "xxx"
    assert len(gateway.upstream.sent) == 3
    gateway.all_is_released()


def open_breakers(gateway: Dispatching) -> None:
    """Every replica of the small model has failed lately."""
    for one in gateway.pools["slm"].replicas:
        one.breaker.opened_at = monotonic()


async def cut_after(gateway: Dispatching, change: Callable[[Dispatching], None], **fields: Any) -> list[bytes]:
    """Read a stream, and change something after its beginning."""
    got: list[bytes] = []
    async with gateway.dispatch(call(stream=True, **fields)) as reply:
        assert reply.events is not None
        got += await anext(reply.events)
        change(gateway)
        got += [one async for together in reply.events for one in together]
    return got


async def test_a_replica_with_an_open_breaker_is_the_last_resort() -> None:
    gateway = pair([*BEGUN, CUT], REST, behind=REST, llm={"prefill": True})
    assert assembled(await cut_after(gateway, open_breakers))["content"] == WHOLE
    assert gateway.upstream.hosts[1] == "llm-0"
    gateway = pair([*BEGUN, CUT], REST)
    assert assembled(await cut_after(gateway, open_breakers))["content"] == WHOLE
    assert len({sent.url for sent in gateway.upstream.sent}) == 2
    gateway.all_is_released()
    gateway = pair([*BEGUN, CUT], refuses(500))
    with pytest.raises(UpstreamFailed, match="cut"):
        await cut_after(gateway, open_breakers)
    gateway.all_is_released()


async def test_a_replica_that_goes_on_is_healthy_before_its_end() -> None:
    def half_open(gateway: Dispatching) -> None:
        for one in gateway.pools["slm"].replicas:
            one.breaker.opened_at = monotonic() - 1000

    gateway = pair([*BEGUN, CUT], [*REST[:2], HANG])
    async with gateway.dispatch(call(stream=True)) as reply:
        assert reply.events is not None
        await anext(reply.events)
        half_open(gateway)
        await anext(reply.events)
        await anext(reply.events)
        [other] = [one for one in gateway.pools["slm"].replicas if one.in_flight]
        assert other.breaker.opened_at is None
    gateway.all_is_released()


async def test_a_replica_that_is_down_is_not_asked() -> None:
    def stop(gateway: Dispatching) -> None:
        for one in gateway.pools["slm"].replicas:
            one.liveness = Unwatched(up=False)

    gateway = pair([*BEGUN, CUT], REST)
    with pytest.raises(UpstreamFailed, match="cut"):
        await cut_after(gateway, stop)
    assert len(gateway.upstream.sent) == 1


async def test_a_rejected_beginning_is_not_the_clients_fault() -> None:
    """What the client is told is why its stream broke off, not that the next model refuses our message."""
    gateway = pair([*BEGUN, CUT], refuses(400, {"error": {"message": "no prefill"}}))
    _, error = await gateway.breaks(UpstreamError)
    assert "cut" in error.message
    assert gateway.tried[1][1] == "rejected"
    gateway.all_is_released()


async def test_what_makes_a_model_go_on_is_not_left_out_when_it_is_refused() -> None:
    """Without the field the engine would begin a new answer, in the middle of the one that the client reads."""
    refused = {"message": "Unsupported parameter: continue_final_message", "param": "continue_final_message"}
    gateway = pair([*BEGUN, CUT], refuses(400, {"error": refused}), REST)
    got, _ = await gateway.breaks(UpstreamError)
    assert assembled(got)["content"] == "Once upon"
    gateway.all_is_released()


async def test_other_fields_that_are_refused_are_left_out() -> None:
    refused = {"message": "Unsupported parameter: seed", "param": "seed"}
    gateway = pair([*BEGUN, CUT], refuses(400, {"error": refused}), REST)
    assert assembled(await gateway.ask(stream=True, seed=7))["content"] == WHOLE
    assert [failure for _, failure in gateway.tried] == ["upstream_error", "adapted", ""]
    assert "seed" not in gateway.upstream.sent[-1].body
    gateway.all_is_released()


async def test_an_answer_that_has_had_its_time_does_not_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = pair([*BEGUN, [delta(content="x")]], REST)
    async with gateway.dispatch(call(stream=True)) as reply:
        assert reply.events is not None
        await anext(reply.events)
        later = monotonic() + 1000
        monkeypatch.setattr("router.attempt.event_source.monotonic", lambda: later)
        with pytest.raises(UpstreamTimedOut):
            async for _ in reply.events:
                pass
    assert len(gateway.upstream.sent) == 1
    gateway.all_is_released()


# --- answers with a format, and calls


def said(*pieces: str, frame: Any = OTHER_FRAME) -> list[Any]:
    return [[one] for one in [*deltas(({"content": one} for one in pieces), frame=frame), usage(9, 8), DONE]]


PREFIX: dict[str, Any] = {"response_format": AS_PERSON, "routing": {"stream_check": "prefix"}}
HALF = GOOD[: len(GOOD) // 2]
BEGUN_JSON = [[one] for one in deltas([{"content": HALF}])[:-1]]


async def test_a_format_is_replayed_from_the_start() -> None:
    gateway = pair([*BEGUN_JSON, CUT], said(GOOD[:3], GOOD[3:-2], GOOD[-2:]))
    got = assembled(await gateway.ask(call(stream=True, usage=True, **PREFIX)))
    assert (got["content"], got["finish"], got["roles"]) == (GOOD, ["stop"], 1)
    assert got["usages"] == [{"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17}]
    first, second = gateway.upstream.sent
    assert first.body == second.body
    assert gateway.record.verdicts == [("slm", "json_schema", "valid")]
    assert gateway.record.structured == "decoded"
    assert gateway.record.attempts[0].estimate is not None
    gateway.all_is_released()


async def test_a_replay_is_still_checked() -> None:
    wrong = json.dumps(json.loads(GOOD) | {"age": "old"})
    begun = wrong[:4]
    gateway = pair([[one] for one in deltas([{"content": begun}])[:-1]] + [CUT], said(wrong))  # type: ignore[arg-type]
    got, _ = await gateway.breaks(StructuredOutputViolation, **PREFIX | {"endpoint": "chat/completions"})
    assert assembled(got)["finish"] == []
    assert [word for *_, word in gateway.record.verdicts] == ["invalid"]


async def test_a_replay_that_differs_is_an_error() -> None:
    gateway = pair([*BEGUN_JSON, CUT], said('{"other": 1}'), said(GOOD), replicas=3)
    got, error = await gateway.breaks(AnswerDiverged, **PREFIX)
    assert assembled(got)["content"] == HALF
    assert error.code == "upstream_error"
    assert gateway.record.continuations == [("slm", "continued"), ("slm", "diverged")]
    assert len(gateway.upstream.sent) == 2
    assert sorted(one.breaker.failures for one in gateway.pools["slm"].replicas) == [0, 0, 1]
    gateway.all_is_released()


async def test_text_at_temperature_0_is_the_undisturbed_one() -> None:
    again = [[one] for one in [*deltas(TEXT, frame=OTHER_FRAME), usage(10, 6), DONE]]
    gateway = pair([*BEGUN, CUT], again)
    got = assembled(await gateway.ask(call(stream=True, usage=True, temperature=0, max_tokens=20)))
    assert (got["content"], got["finish"], got["roles"]) == (WHOLE, ["stop"], 1)
    assert got["usages"] == [{"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16}]
    first, second = gateway.upstream.sent
    assert first.body == second.body
    gateway.all_is_released()


async def test_text_that_is_not_repeated_goes_on_from_what_was_sent() -> None:
    other = [[one] for one in [*deltas([{"content": "Once"}, {"content": " there"}], frame=OTHER_FRAME), DONE]]
    gateway = pair([*BEGUN, CUT], other, REST)
    got = assembled(await gateway.ask(stream=True, temperature=0))
    assert (got["content"], got["finish"], got["roles"]) == (WHOLE, ["stop"], 1)
    assert gateway.upstream.sent[1].url == gateway.upstream.sent[2].url, "nothing is wrong with the replica"
    assert gateway.upstream.sent[2].body["continue_final_message"] is True
    assert gateway.record.continuations == [("slm", "continued"), ("slm", "continued")]
    gateway.all_is_released()


async def test_another_model_does_not_repeat_a_format() -> None:
    gateway = pair([*BEGUN_JSON, CUT], behind=said(GOOD), replicas=1, llm={"prefill": True})
    await gateway.breaks(UpstreamFailed, **PREFIX)
    assert gateway.upstream.hosts == ["slm-0"]


async def test_required_calls_are_replayed_with_the_first_ids() -> None:
    fields = {"tools": [TOOL], "tool_choice": "required", "routing": {"stream_check": "prefix"}}
    begun = [[one] for one in deltas([call_piece(0, "", "get"), call_piece(0, '{"a"')])[:-1]]
    rest = [call_piece(0, "", "get", "b"), call_piece(0, '{"a": 1}'), call_piece(1, "{}", "get", "b")]
    again = [[one] for one in [*deltas(rest, "tool_calls", OTHER_FRAME), DONE]]
    gateway = pair([*begun, CUT], again)
    got = assembled(await gateway.ask(stream=True, **fields))
    assert got["calls"] == {
        0: {"id": ["a-0"], "name": ["get"], "arguments": '{"a": 1}'},
        1: {"id": ["b-1"], "name": ["get"], "arguments": "{}"},
    }
    assert got["finish"] == ["tool_calls"]


async def test_text_beside_optional_tools_goes_on_and_held_calls_are_forgotten() -> None:
    begun = [*deltas([{"content": "Let me see."}])[:-1], delta(**call_piece(0, '{"x', "get"))]
    rest = [call_piece(0, "{}", "get", "b")]
    again = [[one] for one in [*deltas(rest, "tool_calls", OTHER_FRAME), DONE]]
    gateway = pair([[one] for one in begun] + [CUT], again)  # type: ignore[arg-type]
    got = assembled(await gateway.ask(stream=True, tools=[TOOL]))
    assert got["content"] == "Let me see."
    assert got["calls"] == {0: {"id": ["b-0"], "name": ["get"], "arguments": "{}"}}
    assert got["finish"] == ["tool_calls"]
    assert gateway.upstream.sent[1].body["messages"][-1]["content"] == "Let me see."


async def test_calls_that_were_sent_in_a_free_answer_end_it() -> None:
    begun = deltas([{"content": "a"}, call_piece(0, "{", "get")])[:-1]
    gateway = pair([[one] for one in begun] + [CUT], REST)  # type: ignore[arg-type]
    await gateway.breaks(UpstreamFailed)
    assert len(gateway.upstream.sent) == 1


# --- thoughts


SENT_AT_ONCE = {"routing": {"hold": "none"}}
"""otherwise thoughts wait for the answer while another model could be asked"""


@pytest.mark.parametrize("fields", [SENT_AT_ONCE, PREFIX | {"routing": {"stream_check": "prefix", "hold": "none"}}])
async def test_after_thoughts_alone_the_answer_comes_from_another_try(fields: dict[str, Any]) -> None:
    thinking = [[one] for one in deltas([{"reasoning_content": "Let me think"}])[:-1]]
    other = [{"reasoning_content": "Well."}, {"content": GOOD}]
    gateway = pair([*thinking, CUT], [[one] for one in [*deltas(other, frame=OTHER_FRAME), DONE]])
    got = assembled(await gateway.ask(stream=True, **fields))
    assert (got["thoughts"], got["content"], got["finish"]) == ("Let me think", GOOD, ["stop"])
    assert gateway.upstream.sent[0].body == gateway.upstream.sent[1].body


async def test_after_thoughts_alone_any_model_can_answer() -> None:
    thinking = [[one] for one in deltas([{"reasoning_content": "Let me think"}])[:-1]]
    gateway = pair([*thinking, CUT], behind=said("Hi."), replicas=1)
    got = assembled(await gateway.ask(stream=True, **SENT_AT_ONCE))
    assert (got["thoughts"], got["content"]) == ("Let me think", "Hi.")


async def test_a_format_that_the_next_model_does_not_enforce_is_held_and_repaired() -> None:
    thinking = [[one] for one in deltas([{"reasoning_content": "Let me think"}])[:-1]]
    gateway = pair([*thinking, CUT], behind=said(f"```json\n{GOOD}\n```"), replicas=1, structured_backend="guidance")
    got = assembled(await gateway.ask(stream=True, response_format=AS_PERSON, **SENT_AT_ONCE))
    assert (got["thoughts"], got["content"], got["finish"]) == ("Let me think", GOOD, ["stop"])
    assert gateway.record.structured == "repaired"


async def test_thoughts_before_a_text_are_told_to_the_next_replica() -> None:
    begun = [[one] for one in deltas([{"reasoning_content": "Hm."}, {"content": "Once upon"}])[:-1]]
    gateway = pair([*begun, CUT], REST)
    got = assembled(await gateway.ask(stream=True))
    assert (got["thoughts"], got["content"]) == ("Hm.", WHOLE)
    said_so_far = {"role": "assistant", "content": "Once upon", "reasoning_content": "Hm."}
    assert gateway.upstream.sent[1].body["messages"][-1] == said_so_far


# --- ends


async def test_at_the_token_limit_only_the_end_is_missing() -> None:
    gateway = pair([*BEGUN, CUT])
    got = assembled(await gateway.ask(call(stream=True, usage=True, max_tokens=2)))
    assert (got["content"], got["finish"]) == ("Once upon", ["length"])
    assert got["usages"] == [{"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}]
    assert gateway.record.continuations == [("slm", "ended")]
    assert [failure for _, failure in gateway.tried] == [""]
    gateway.all_is_released()


@pytest.mark.parametrize(("tokens", "limit"), [(5, 15), (1, 18), (None, 18)])
async def test_limit_and_usage_count_tokens_where_the_engine_counts_them(
    monkeypatch: pytest.MonkeyPatch, tokens: int | None, limit: int
) -> None:
    """Two events may have been five tokens; never less than one each."""
    counted = []

    async def count(upstream: Any, lease: Any, text: str) -> int | None:
        counted.append((lease.replica.name, text))
        return tokens

    monkeypatch.setattr("router.attempt.continuation.failover.count_tokens", count)
    gateway = pair([*BEGUN, CUT], REST)
    got = assembled(await gateway.ask(call(stream=True, usage=True, max_tokens=20)))
    assert counted == [(gateway.tried[1][0], "Once upon")]
    assert gateway.upstream.sent[1].body["max_tokens"] == limit
    kept = 20 - limit
    assert got["usages"] == [{"prompt_tokens": 12 - kept, "completion_tokens": 4 + kept, "total_tokens": 16}]
    gateway = pair([*BEGUN, CUT], REST)
    got = assembled(await gateway.ask(call(stream=True, usage=True, max_tokens=5)))
    assert (got["content"], got["finish"]) == (("Once upon", ["length"]) if tokens == 5 else (WHOLE, ["stop"]))
    assert got["usages"][0]["completion_tokens"] == (5 if tokens == 5 else 6)
    gateway.all_is_released()


@pytest.mark.parametrize("wanted", [False, True])
async def test_after_the_finish_nothing_is_missing_but_the_usage(wanted: bool) -> None:
    gateway = pair([[one] for one in deltas(TEXT)] + [CUT])  # type: ignore[arg-type]
    got = assembled(await gateway.ask(call(stream=True, usage=wanted)))
    assert (got["content"], got["finish"]) == (WHOLE, ["stop"])
    assert len(got["usages"]) == wanted
    assert gateway.record.cost_nano_usd is not None


async def test_text_completions_go_on() -> None:
    def text(piece: str, **more: Any) -> list[bytes]:
        return [event({"text": piece, **more}, OTHER_FRAME)]

    gateway = pair([text("Once"), CUT], [text(" upon"), text("", finish_reason="length"), [DONE]])
    got = assembled(await gateway.ask(stream=True, endpoint="completions", prompt="Tell: ", max_tokens=3))
    assert (got["content"], got["finish"]) == ("Once upon", ["length"])
    assert gateway.upstream.sent[1].body["prompt"] == "Tell: Once"
    assert gateway.upstream.sent[1].body["max_tokens"] == 2


# --- clients that leave, and limits


def _lives() -> dict[str, Callable[[], tuple[Dispatching, dict[str, Any]]]]:
    return {
        "goes on": lambda: (pair([*BEGUN, CUT], REST), {}),
        "goes on twice": lambda: (pair([*BEGUN, CUT], refuses(500), REST, replicas=3), {}),
        "next rung": lambda: (pair([*BEGUN, CUT], behind=REST, replicas=1, llm={"prefill": True}), {}),
        "replay": lambda: (pair([*BEGUN_JSON, CUT], said(GOOD)), PREFIX),
        "hangs": lambda: (pair([*BEGUN, CUT], HANG), {}),
        "hangs in the stream": lambda: (pair([*BEGUN, CUT], [HANG]), {}),
    }


@pytest.mark.parametrize("life", _lives())
async def test_cancelled_at_any_point_nothing_stays_taken(life: str) -> None:
    for steps in range(80):
        gateway, fields = _lives()[life]()
        task = asyncio.ensure_future(gateway.ask(stream=True, **fields))
        for _ in range(steps):
            await asyncio.sleep(0)
        done = task.done()
        task.cancel()
        await asyncio.wait([task], timeout=5)
        gateway.all_is_released()
        if done:
            assert task.exception() is None
            return
    assert "hangs" in life, "it never came to its end"


async def test_a_clients_deadline_holds_for_all_of_it() -> None:
    gateway = pair([*BEGUN, CUT], HANG)
    _, error = await gateway.breaks(UpstreamTimedOut, routing={"deadline_ms": 50})
    assert error.code == "deadline_exceeded"
    gateway.all_is_released()


async def test_a_very_long_answer_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.attempt.stream.MAX_BODY_BYTES", 1000)
    begun = [[delta(content="x" * 100)] for _ in range(20)]
    gateway = pair([*begun, CUT], REST)
    got, _ = await gateway.breaks(UpstreamFailed)
    assert len(assembled(got)["content"]) == 2000
    assert len(gateway.upstream.sent) == 1


async def test_comments_keep_the_connection_while_another_replica_begins() -> None:
    gateway = pair([*BEGUN, CUT], REST)
    async with gateway.dispatch(call(stream=True)) as reply:
        assert reply.events is not None
        await anext(reply.events)
        assert not gateway.record.held
        async for _ in reply.events:
            pass
        assert gateway.record.held


@pytest.mark.parametrize("status", [400, 422])
async def test_a_refusal_in_the_middle_is_not_the_clients_fault_either(status: int) -> None:
    refused = json.dumps({"error": {"message": "x", "code": status}}).encode()
    gateway = pair([*BEGUN, [refused]], behind=REST, replicas=1, llm={"prefill": True})
    assert assembled(await gateway.ask(stream=True))["content"] == WHOLE
    alone = pair([*BEGUN, [refused]], replicas=1)
    error: ApiError = (await alone.breaks(UpstreamRejected))[1]
    assert error.status == status
