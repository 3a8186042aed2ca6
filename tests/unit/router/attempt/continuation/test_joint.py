"""Wherever an answer is cut, its beginning and its rest are the undisturbed answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.attempt.continuation.joint import Joint, closing_events
from router.attempt.continuation.plan import Plan, plan
from router.attempt.continuation.sent import Sent
from router.errors import AnswerDiverged
from router.types import ChatCall, Usage
from router.upstream.base import Dialect
from router.upstream.dialects.openai import OpenAIDialect
from router.upstream.dialects.vllm import VllmDialect
from tests.support.cut_answers import (
    FRAME,
    OTHER_FRAME,
    assembled,
    call_piece,
    delta,
    deltas,
    event,
    split_at,
    usage,
)
from tests.support.fakes import call, model

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from(" \n\t"), min_size=1, max_size=40)
PLACES = st.lists(st.integers(0, 40), max_size=12)
CHAT = call(stream=True, usage=True)


def joined(asked: ChatCall, events: Sequence[bytes], rest: Iterable[bytes], way: Plan) -> list[bytes]:
    """Return what the client gets: what was sent, and what is made of the rest."""
    joint = Joint(asked, Sent.of(events, asked.endpoint), way)
    new = [joint.join(json.loads(one)) for one in rest]
    return [*events, *(json.dumps(chunk).encode() for chunk in new if chunk is not None)]


def planned(asked: ChatCall, events: Sequence[bytes], *, is_free: bool = True) -> Plan:
    found = plan(asked, Sent.of(events, asked.endpoint), model(), VllmDialect(), is_free=is_free, is_same=True)
    assert found is not None
    return found


def beginning(way: Plan) -> str:
    """Return what the engine goes on from, as the plan writes it."""
    return str(way.changes["messages"][-1]["content"]) if "messages" in way.changes else ""


@given(TEXTS, PLACES, PLACES, st.integers(0, 14))
def test_free_text_goes_on_from_any_cut(text: str, places: list[int], others: list[int], cut: int) -> None:
    events = deltas({"content": piece} for piece in split_at(text, places))[:-1]
    events = events[: max(2, min(cut, len(events)))]
    way = planned(CHAT, events)
    rest = text[len(beginning(way)) :]
    pieces = split_at(rest, others)
    counted = usage(10 + way.kept_tokens, len(pieces) + 1, OTHER_FRAME)
    got = assembled(joined(CHAT, events, [*deltas(({"content": p} for p in pieces), frame=OTHER_FRAME), counted], way))
    assert (got["content"], got["finish"], got["roles"]) == (text, ["stop"], 1)
    [total] = got["usages"]
    assert total["prompt_tokens"] == 10
    assert total["total_tokens"] == total["prompt_tokens"] + total["completion_tokens"]
    assert total["completion_tokens"] == way.kept_tokens + len(pieces) + 1


@given(TEXTS, TEXTS, PLACES, PLACES, st.integers(0, 30))
def test_a_replay_repeats_any_beginning(
    text: str, thoughts: str, places: list[int], others: list[int], cut: int
) -> None:
    def answer(at: list[int], frame: Mapping[str, Any], thinking: str = thoughts) -> list[bytes]:
        thought = [{"reasoning_content": piece} for piece in split_at(thinking, at)]
        return deltas([*thought, *({"content": piece} for piece in split_at(text, at))], frame=frame)

    events = answer(places, FRAME)[:-1]
    events = events[: max(2, min(cut, len(events)))]
    way = planned(CHAT, events, is_free=False)
    only_thoughts = not Sent.of(events, CHAT.endpoint).has_answer
    assert way.is_replay is not only_thoughts
    got = assembled(joined(CHAT, events, answer(others, OTHER_FRAME, "Otherwise."), way))
    assert (got["content"], got["finish"], got["roles"]) == (text, ["stop"], 1)
    assert thoughts.startswith(got["thoughts"]), "thoughts are not mixed"


@given(st.lists(TEXTS, min_size=1, max_size=3), PLACES, PLACES, st.integers(0, 40))
def test_calls_are_repeated_from_any_cut(arguments: list[str], places: list[int], others: list[int], cut: int) -> None:
    def answer(at: list[int], frame: Mapping[str, Any], call_id: str) -> list[bytes]:
        pieces = []
        for index, text in enumerate(arguments):
            first, *more = split_at(text, at)
            pieces += [call_piece(index, first, f"tool_{index}", call_id), *(call_piece(index, one) for one in more)]
        return deltas(pieces, "tool_calls", frame)

    events = answer(places, FRAME, "a")[:-1]
    events = events[: max(2, min(cut, len(events)))]
    sent = Sent.of(events, CHAT.endpoint)
    got = assembled(joined(CHAT, events, answer(others, OTHER_FRAME, "b"), planned(CHAT, events, is_free=False)))
    assert [one["arguments"] for one in got["calls"].values()] == arguments
    assert [one["name"] for one in got["calls"].values()] == [[f"tool_{i}"] for i in range(len(arguments))]
    ids = [f"{'a' if index in sent.calls else 'b'}-{index}" for index in range(len(arguments))]
    assert [one["id"] for one in got["calls"].values()] == [[one] for one in ids]
    assert got["finish"] == ["tool_calls"]


@given(TEXTS, PLACES, PLACES, st.integers(1, 14))
def test_text_completions_go_on(text: str, places: list[int], others: list[int], cut: int) -> None:
    asked = call(endpoint="completions", stream=True, prompt="Once")
    events = [event({"text": piece}) for piece in split_at(text, places)]
    events = events[: max(1, min(cut, len(events)))]
    way = planned(asked, events)
    rest = text[len(way.changes.get("prompt", "Once")) - len("Once") :]
    *pieces, last = split_at(rest, others) or [""]
    after = [*(event({"text": piece}, OTHER_FRAME) for piece in pieces)]
    got = assembled(joined(asked, events, [*after, event({"text": last, "finish_reason": "length"}, OTHER_FRAME)], way))
    assert (got["content"], got["finish"]) == (text, ["length"])


REPLAY = Plan(is_replay=True)
DIVERGING: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "another text": ([{"content": '{"a": 1'}], [{"content": '{"b'}]),
    "a shorter text": ([{"content": '{"a": 1'}], [{"content": '{"a"'}]),
    "nothing": ([{"content": '{"a": 1'}], []),
    "a refusal": ([{"content": '{"a": 1'}], [{"refusal": "No."}]),
    "a call instead": ([{"content": '{"a": 1'}], [call_piece(0, "{}", "get")]),
    "another name": ([call_piece(0, "{", "get")], [call_piece(0, "{}", "put")]),
    "other arguments": ([call_piece(0, '{"a', "get")], [call_piece(0, '{"b', "get")]),
    "text before the call": ([call_piece(0, "{", "get")], [{"content": "Well."}, call_piece(0, "{}", "get")]),
    "no second call": ([call_piece(0, "{}", "get"), call_piece(1, "{", "get")], [call_piece(0, "{}", "get")]),
    "a longer first call": (
        [call_piece(0, "{}", "get"), call_piece(1, "{", "get")],
        [call_piece(0, "{} ", "get"), call_piece(1, "{}", "get")],
    ),
}


@pytest.mark.parametrize("kind", DIVERGING)
def test_a_replay_that_differs_is_found_before_anything_of_it_is_sent(kind: str) -> None:
    sent, other = DIVERGING[kind]
    events = deltas(sent)[:-1]
    joint = Joint(CHAT, Sent.of(events, CHAT.endpoint), REPLAY)
    told = []
    with pytest.raises(AnswerDiverged):
        told += [joint.join(json.loads(one)) for one in deltas(other, frame=OTHER_FRAME)]
    assert not any(told)


def test_an_engine_that_repeats_the_message_goes_on_after_it() -> None:
    way = Plan(kept_tokens=2, repeated="Once upon", again="\n")
    events = deltas([{"content": "Once"}, {"content": " upon"}, {"content": "\n"}])[:-1]
    for pieces in (["Once upon", "\n", " a"], ["Once upon\n a"], ["On", "ce upon\n", " a"]):
        got = assembled(joined(CHAT, events, deltas({"content": one} for one in pieces), way))
        assert got["content"] == "Once upon\n a"
    with pytest.raises(AnswerDiverged):
        joined(CHAT, events, deltas([{"content": "Hello"}]), way)
    with pytest.raises(AnswerDiverged):
        joined(CHAT, events, deltas([{"content": "Once"}]), way)


def test_a_function_call_of_the_older_kind_is_repeated() -> None:
    head, more = {"function_call": {"name": "get", "arguments": '{"a'}}, {"function_call": {"arguments": '": 1}'}}
    events = deltas([head])[:-1]
    *_, new, end = joined(CHAT, events, deltas([head, more], "function_call"), REPLAY)
    assert json.loads(new)["choices"][0]["delta"] == {"function_call": {"arguments": '": 1}'}}
    assert json.loads(end)["choices"][0]["finish_reason"] == "function_call"


def test_thoughts_after_a_text_are_the_text_that_a_parser_took_for_thoughts() -> None:
    events = deltas([{"content": "Once upon"}])[:-1]
    got = assembled(joined(CHAT, events, deltas([{"reasoning_content": " a time"}]), planned(CHAT, events)))
    assert (got["content"], got["thoughts"]) == ("Once upon a time", "")


def test_new_thoughts_reach_a_client_that_has_none() -> None:
    events = deltas([{"content": " "}])[:-1]
    got = assembled(joined(CHAT, events, deltas([{"reasoning": "Hm."}, {"content": "Hi"}]), planned(CHAT, events)))
    assert (got["content"], got["thoughts"]) == (" Hi", "Hm.")


def test_thoughts_between_two_texts_are_new_to_the_client() -> None:
    events = deltas([{"reasoning": "Hm."}])[:-1]
    rest = deltas([{"reasoning": "Well."}, {"content": "a"}, {"reasoning": " And?"}, {"content": "b"}])
    got = assembled(joined(CHAT, events, rest, planned(CHAT, events)))
    assert (got["content"], got["thoughts"]) == ("ab", "Hm. And?")


def test_logprobs_go_on_with_their_tokens() -> None:
    def piece(text: str) -> bytes:
        return event({"delta": {"content": text}, "logprobs": {"content": [{"token": text}]}})

    events = [delta(role="assistant", content=""), piece("a"), piece("b")]
    got = joined(CHAT, events, [piece("a"), piece("b"), piece("c")], REPLAY)
    tokens = [part["logprobs"]["content"][0]["token"] for one in got[1:] for part in json.loads(one)["choices"]]
    assert tokens == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("sent", "rest", "told"),
    [
        ("One EN", ["D two"], "One EN"),
        ("One E", ["N", "D", " two"], "One E"),
        ("One EN", ["T", "ER"], "One ENTER"),
        ("One E", ["N"], "One EN"),
        ("One ", ["END"], "One END"),  # the upstream's own matter
        ("One #", ["#", " two"], "One #"),
    ],
)
def test_a_stop_text_across_the_cut_ends_the_answer(sent: str, rest: list[str], told: str) -> None:
    asked = call(stream=True, stop=["END", "##"])
    events = deltas([{"content": sent}])[:-1]
    got = assembled(joined(asked, events, deltas(({"content": one} for one in rest), "length"), Plan(kept_tokens=1)))
    assert got["content"] == told
    assert got["finish"] == ["length" if told == sent + "".join(rest) else "stop"]


def test_the_upstreams_own_count_of_the_beginning_is_believed() -> None:
    first = json.loads(delta(content="a")) | {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}
    events = [json.dumps(first).encode()]
    rest = [delta(content="b"), usage(11, 4)]
    [told] = assembled(joined(CHAT, events, rest, planned(CHAT, events)))["usages"][1:]
    assert told == {"prompt_tokens": 7, "completion_tokens": 7, "total_tokens": 14}


def test_cached_tokens_are_never_more_than_the_prompt() -> None:
    events = deltas([{"content": "a"}])[:-1]
    more = {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 5}}
    raw = json.dumps({"choices": [], "usage": more}).encode()
    joint = Joint(CHAT, Sent.of(events, CHAT.endpoint), planned(CHAT, events))
    told = joint.join(json.loads(raw))
    assert told is not None
    assert told["usage"]["prompt_tokens"] == told["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
    assert joint.usage == Usage(prompt=4, cached=4, completion=2)


def test_an_upstream_that_does_not_count_the_beginning_is_believed() -> None:
    events = deltas({"content": f"{at} "} for at in range(20))[:-1]
    [told] = assembled(joined(CHAT, events, [*deltas([{"content": "20"}]), usage(11, 1)], planned(CHAT, events)))[
        "usages"
    ]
    assert told == {"prompt_tokens": 11, "completion_tokens": 21, "total_tokens": 32}


@pytest.mark.parametrize(("dialect", "counted"), [(VllmDialect(), 14), (OpenAIDialect(), 11)])
def test_thoughts_count_as_prompt_only_where_they_were_sent(dialect: Dialect, counted: int) -> None:
    thoughts = [{"reasoning_content": one} for one in ("Let", " me", " see")]
    events = deltas([*thoughts, {"content": "Fine"}])[:-1]
    way = plan(CHAT, Sent.of(events, CHAT.endpoint), model(prefill=True), dialect, is_free=True, is_same=False)
    assert way is not None
    [told] = assembled(joined(CHAT, events, [*deltas([{"content": "."}]), usage(counted, 1)], way))["usages"]
    assert told == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


BEGUN = ["Once ", "upon a ", "time"]


@pytest.mark.parametrize("pieces", [[*BEGUN, " there"], ["Once upon a time there"], ["Once", " upon a time there"]])
def test_an_upstream_that_begins_anew_is_not_told_twice(pieces: list[str]) -> None:
    events = deltas({"content": one} for one in BEGUN)[:-1]
    rest = [*deltas({"content": one} for one in pieces), usage(10, len(pieces))]
    got = assembled(joined(CHAT, events, rest, planned(CHAT, events)))
    assert got["content"] == "Once upon a time there"
    assert got["usages"][0]["completion_tokens"] == len(pieces)


@pytest.mark.parametrize(
    ("begun", "rest"),
    [
        ("Once upon a time", ["Once", " more"]),
        ("Once upon a time", ["Once upon"]),
        ("ha ha ", ["ha ha ", "ha"]),  # too short to tell
        ("0000000000", ["0000000000", "1"]),
    ],
)
def test_a_rest_that_begins_like_the_beginning_is_told(begun: str, rest: list[str]) -> None:
    events = deltas([{"content": begun}])[:-1]
    got = assembled(joined(CHAT, events, deltas({"content": one} for one in rest), planned(CHAT, events)))
    assert got["content"] == begun + "".join(rest)


def test_usage_that_cannot_be_read_passes() -> None:
    events = deltas([{"content": "a"}])[:-1]
    raw = json.dumps({"choices": [], "usage": {"tokens": 5}}).encode()
    assert assembled(joined(CHAT, events, [raw], planned(CHAT, events)))["usages"] == [{"tokens": 5}]


@pytest.mark.parametrize("finished", [False, True])
def test_what_closes_an_answer(finished: bool) -> None:
    events = deltas([{"content": "a"}, {"content": "b"}], "length")[: None if finished else -1]
    sent = Sent.of(events, CHAT.endpoint)
    got = assembled([*events, *closing_events(CHAT, sent, 7)])
    assert got["finish"] == ["length"]
    assert got["usages"] == [{"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}]
    assert closing_events(call(stream=True), sent, 7)[1:] == []
    counted = Sent.of([*events, usage(7, 2)], CHAT.endpoint)
    assert len(closing_events(CHAT, counted, 7)) == 0 if finished else 1, "usage is told once"
