"""Who is asked where models stand side by side, and where the fallback cannot answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.confidence import (
    FORM,
    SURE,
    choice,
    experts,
    gateway,
    knows,
    sure,
    text_of,
    unsure,
    whole,
)
from tests.support.fakes import (
    HANG,
    answers,
    large,
    model,
    refuses,
)
from tests.support.inprocess import Dispatching

# --- experts side by side


async def test_the_expert_that_saves_most_is_asked() -> None:
    one = experts(sure("a"), sure("b"), evidence={"a": knows(0.0, 0.9), "b": knows(0.0, 0.0)})
    assert text_of((await one.ask())[0]) == "b"
    assert one.upstream.hosts == ["b-0"]
    assert one.steps == []


async def test_another_expert_stands_in_for_one_that_is_not_there() -> None:
    one = experts(refuses(500), sure("b"))
    assert text_of((await one.ask())[0]) == "b"
    assert (one.steps, one.record.retries) == ([], [("a", "upstream_error")])


async def test_an_unsure_expert_is_followed_by_the_rung_above() -> None:
    one = experts(unsure("a"), sure("b"))
    assert text_of((await one.ask())[0]) == "From the large one."
    assert one.steps == [("a", "llm", "confidence")]


async def test_an_expert_that_is_not_able_was_not_tried() -> None:
    a, b, llm = model("a", abilities=frozenset({"logprobs"})), model("b"), large()
    number = {**choice('{"a": 1}', None), "logprobs": {"content": [{"token": '{"a": 1}', "logprob": SURE}]}}
    one = Dispatching((a, b, llm), {"b-0": [whole(number)]},
                      settings={"policy": "cascade", "rungs": ((a, b), (llm,))})  # fmt: skip
    await one.ask(response_format=FORM)
    assert (one.headers["model"], one.headers["structured"], one.record.retries) == ("b", "decoded", [])


async def test_an_expert_of_whom_nothing_is_known_comes_after_those_who_are_known() -> None:
    one = experts(sure("a"), sure("b"), evidence={"a": knows(0.0, 0.3)})
    assert text_of((await one.ask())[0]) == "a"
    one = experts(sure("a"), sure("b"), evidence={"a": knows(0.9, 0.9)})
    assert text_of((await one.ask())[0]) == "b"


# --- a fallback that cannot


def skipping(**large_entry: Any) -> Dispatching:
    llm = large(**large_entry)
    settings = {"policy": "cascade", "evidence": {"slm": knows(0.9, 0.9)}}
    return Dispatching((model(), llm), {"slm-0": [answers("Rome?")], "llm-0": [refuses(500)]}, settings=settings)


@pytest.mark.parametrize(
    ("entry", "fields", "why"),
    [
        ({}, {}, "upstream_error"),
        ({"abilities": frozenset({"tools"})}, {"response_format": {"type": "json_object"}}, "ability"),
        ({}, {"routing": {"max_cost_usd": 1e-9}, "max_tokens": 10}, "cost"),
        ({"context": 5}, {"messages": [{"role": "user", "content": "word " * 500}]}, "context"),
    ],
)
async def test_who_was_skipped_answers_where_the_fallback_cannot(
    entry: dict[str, Any], fields: dict[str, Any], why: str
) -> None:
    one = skipping(**entry)
    one.script["slm-0"] = [answers("{}")]
    one = Dispatching(one.models, one.script, settings=one.settings)
    assert text_of((await one.ask(**fields))[0]) == "{}"
    assert (one.headers["model"], one.headers["reason"]) == ("slm", f"unsure: {why}")
    one.all_is_released()


async def test_the_fallback_is_asked_once_more_before_who_was_skipped() -> None:
    one = skipping()
    one.script["llm-0"] = [refuses(500), answers("From the large one.")]
    one = Dispatching(one.models, one.script, settings=one.settings)
    assert text_of((await one.ask())[0]) == "From the large one."
    assert one.upstream.hosts == ["llm-0", "llm-0"]


async def test_a_hard_call_whose_fallback_is_down_is_answered_from_below() -> None:
    one = Dispatching(script={"llm-0": [refuses(500)]}, settings={"policy": "heuristic", "threshold": 0.0})
    assert text_of((await one.ask())[0]) == "Paris."
    assert one.headers["reason"] == "unsure: upstream_error"


async def test_an_unsure_answer_goes_before_one_that_nobody_wanted() -> None:
    a, b, llm = model("a"), model("b"), large()
    script = {"a-0": [unsure("a")], "b-0": [sure("b")], "llm-0": [refuses(500)]}
    settings = {"policy": "cascade", "rungs": ((a, b), (llm,)), "evidence": {"a": knows(0.0, 0.9), "b": knows(0.9)}}
    one = Dispatching((a, b, llm), script, settings=settings)
    assert text_of((await one.ask())[0]) == "a"
    assert "b-0" not in one.upstream.hosts


async def test_of_two_unsure_answers_the_surer_one_is_given() -> None:
    a, b, llm = model("a"), model("b"), large()
    script = {"a-0": [whole(choice("a", -0.5))], "b-0": [unsure("b")], "llm-0": [refuses(500)]}
    one = Dispatching((a, b, llm), script, settings={"policy": "cascade"})
    assert text_of((await one.ask())[0]) == "a"


async def test_what_the_fallback_could_not_take_is_not_said_of_the_unsure_answer() -> None:
    one = gateway(unsure(), large_says=refuses(500))
    await one.ask(top_k=3)
    assert "adapted" not in one.headers


async def test_before_the_deadline_passes_the_unsure_answer_leaves() -> None:
    one = gateway(unsure(), large_says=HANG)
    assert text_of((await one.ask(routing={"deadline_ms": 150}))[0]) == "Rome?"
    assert one.headers["reason"] == "unsure: unavailable"
    one.all_is_released()


async def test_a_fixed_route_takes_its_experts_in_their_order() -> None:
    one = experts(refuses(500), answers("b"), policy="fixed")
    assert text_of((await one.ask())[0]) == "b"
