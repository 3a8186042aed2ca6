from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config.models import Rung
from router.decision import Decision
from router.policy.base import Situation
from router.policy.heuristic import WEIGHTS, Heuristic, difficulty
from tests.support.fakes import call, model


def ladder(rungs: int) -> tuple[Rung, ...]:
    return tuple((model(f"m{at}"),) for at in range(rungs))


def of_length(characters: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "x" * characters}]


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


CALLS = st.builds(
    call,
    messages=st.lists(
        st.fixed_dictionaries({"role": st.just("user"), "content": st.text(max_size=2000) | st.none()}), max_size=40
    ),
    tools=st.none() | st.lists(st.fixed_dictionaries({"type": st.just("function")}), max_size=40),
    max_tokens=st.none() | st.integers(1, 10**6),
    reasoning_effort=st.sampled_from([None, "low", "medium", "high", "xhigh", 7]),
    response_format=st.none() | st.integers(0, 50).map(nested) | st.just({"type": "text"}) | st.just("junk"),
)


@given(CALLS, st.integers(1, 6), st.floats(0, 1))
def test_the_rung_is_on_the_ladder_and_the_score_on_its_scale(one: Any, rungs: int, threshold: float) -> None:
    decision = Heuristic(threshold).decide(Situation(one, ladder(rungs)))
    assert 0 <= decision.rung < rungs
    assert decision.score is not None
    assert 0 <= decision.score <= 1
    assert (decision.rung == 0) == (decision.score < threshold or rungs == 1)
    assert decision.reason.isascii()


@given(CALLS)
def test_signs_are_parts_of_the_score(one: Any) -> None:
    signs = difficulty(one)
    assert signs.keys() == WEIGHTS.keys()
    assert all(0 <= value <= WEIGHTS[sign] for sign, value in signs.items())


@given(st.integers(0, 200_000), st.integers(0, 200_000), st.floats(0, 1), st.integers(1, 5))
def test_a_longer_prompt_never_starts_lower(a: int, b: int, threshold: float, rungs: int) -> None:
    short, long = (call(messages=of_length(length)) for length in sorted((a, b)))
    policy = Heuristic(threshold)
    low, high = policy.decide(Situation(short, ladder(rungs))), policy.decide(Situation(long, ladder(rungs)))
    assert low.score is not None
    assert high.score is not None
    assert low.score <= high.score
    assert low.rung <= high.rung


@pytest.mark.parametrize(
    ("fields", "sign"),
    [
        ({"messages": of_length(40_000)}, "long prompt"),
        ({"reasoning_effort": "high"}, "reasoning asked for"),
        ({"tools": [{"type": "function"}] * 16}, "many tools"),
        ({"response_format": nested(8)}, "deep schema"),
        ({"max_tokens": 100_000}, "long answer"),
        ({"max_completion_tokens": 100_000}, "long answer"),
        ({"messages": [{"role": "user", "content": ""}] * 21}, "long conversation"),
    ],
)
def test_each_sign_is_seen_and_named(fields: dict[str, Any], sign: str) -> None:
    decision = Heuristic(0.2).decide(Situation(call(**fields), ladder(2)))
    assert decision.rung == 1
    assert decision.reason == f"heuristic: {sign}"
    assert decision.score == pytest.approx(sum(difficulty(call(**fields)).values()))
    assert difficulty(call(**fields))[sign] == pytest.approx(WEIGHTS[sign], rel=0.2)


def test_a_plain_question_is_easy() -> None:
    assert Heuristic(0.5).decide(Situation(call(), ladder(2))) == Decision(0, "heuristic", 0.0)


def test_an_empty_conversation_is_not_easier_than_nothing() -> None:
    assert Heuristic(0.5).decide(Situation(call(messages=[]), ladder(2))).score == 0


def test_the_threshold_itself_is_above() -> None:
    one = call(messages=of_length(4 * 724))  # half of the scale from 64 to 8192 tokens, in octaves
    score = Heuristic(0.5).decide(Situation(one, ladder(2))).score
    assert score == pytest.approx(0.5, abs=0.01)
    assert score is not None
    assert Heuristic(score).decide(Situation(one, ladder(2))).rung == 1
    assert Heuristic(score + 1e-9).decide(Situation(one, ladder(2))).rung == 0


def test_the_ends_of_the_threshold() -> None:
    easy, hard = call(), call(messages=of_length(10**6))
    assert Heuristic(0).decide(Situation(easy, ladder(3))).rung == 1, "0: nothing is easy enough for the first rung"
    assert Heuristic(1).decide(Situation(easy, ladder(3))).rung == 0
    assert Heuristic(1).decide(Situation(hard, ladder(3))).rung == 2


@pytest.mark.parametrize(("score", "rung"), [(0.39, 0), (0.4, 1), (0.59, 1), (0.61, 2), (0.79, 2), (0.81, 3), (1.0, 3)])
def test_the_scale_above_the_threshold_is_shared_evenly(
    score: float, rung: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.policy.heuristic.difficulty", lambda _: {"long prompt": score})
    assert Heuristic(0.4).decide(Situation(call(), ladder(4))).rung == rung


def test_a_schema_as_deep_as_the_parser_takes_is_no_trouble() -> None:
    assert difficulty(call(response_format=nested(400)))["deep schema"] == WEIGHTS["deep schema"]
