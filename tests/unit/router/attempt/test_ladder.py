from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.attempt.failure import MAX_TRIES_ON_A_RUNG, classify
from router.attempt.ladder import Ladder, Move, allowed_rungs
from router.config.models import Model, Route, Rung
from router.decision import Decision
from router.errors import (
    AnswerTruncated,
    ApiError,
    BadRequest,
    FailedLately,
    LowConfidence,
    NotEligible,
    Resting,
    StructuredOutputViolation,
    Unavailable,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)
from tests.support.fakes import call, large, model

A, B, C, LLM = model("a"), model("b"), model("c"), large()
EXPERTS: tuple[Rung, ...] = ((A, B), (LLM,))
STEPS: tuple[Rung, ...] = ((A,), (B,), (LLM,))

BROKEN = UpstreamFailed("x")
DOWN = Unavailable("x")
RESTING = FailedLately("x")
OWN_FAULT = BadRequest("x")
UNABLE = NotEligible("x", reason="ability", code="unsupported_by_model")
UNSURE = LowConfidence("x")
INVALID = StructuredOutputViolation("x")
CUT = AnswerTruncated("x", more_room=False)
ERRORS: list[ApiError] = [
    BROKEN, DOWN, RESTING, OWN_FAULT, UNABLE, UNSURE, INVALID, CUT, AnswerTruncated("x", more_room=True),
    UpstreamTimedOut("x"), UpstreamRejected(429, {}), UpstreamRejected(400, {"code": "unsupported_schema"}),
]  # fmt: skip


def ladder(rungs: Sequence[Rung] = STEPS, start: int = 0, order: Sequence[str] = ()) -> Ladder:
    return Ladder.of(rungs, Decision(start, "x", asking_order=order))


def names(of: Ladder) -> list[str]:
    return [one.name for _, one in of.models]


def after(
    on: Ladder, error: ApiError, *, others: int = 0, retried: bool = False, skipped: bool = True, tries: int = 1
) -> Move:
    """What follows an error of the current model, which was asked before as often as `tries` says."""
    on.tried += [f"{on.current.name}/{at}" for at in range(len(on.tried), tries)]
    return on.next_step(classify(error), other_replicas=others, retried=retried, may_ask_skipped=skipped)


# --- the order


def test_a_decision_for_the_first_rung_asks_all_from_there_on() -> None:
    assert names(ladder()) == ["a", "b", "llm"]
    assert ladder().skipped_from == 3
    assert names(ladder(EXPERTS)) == ["a", "b", "llm"]


def test_what_lies_below_the_start_is_skipped_and_comes_last() -> None:
    above = ladder(STEPS, start=1)
    assert names(above) == ["b", "llm", "a"]
    assert above.skipped_from == 2
    assert above.models == [(1, B), (2, LLM), (0, A)], "each with its own rung"


def test_an_asking_order_goes_before_the_rung() -> None:
    ordered = ladder(EXPERTS, start=1, order=["b", "llm"])
    assert names(ordered) == ["b", "llm", "a"]
    assert ordered.skipped_from == 2
    assert ladder(EXPERTS, order=["b", "a", "llm"]).skipped_from == 3


def test_ladders_share_no_list_of_what_was_tried() -> None:
    first = ladder()
    after(first, BROKEN, others=1)
    assert (first.tried, ladder().tried) == (["a/0"], [])


# --- where the request stands


@pytest.mark.parametrize(
    ("of", "above", "last", "skipped"),
    [
        (ladder(), [True, True, False], [False, False, True], [False] * 3),
        (ladder(EXPERTS), [True, True, False], [False, False, True], [False] * 3),
        (ladder(STEPS, 1), [True, False, False], [False, False, True], [False, False, True]),
        (ladder(((A, B),)), [False, False], [False, True], [False, False]),
        # a model that was skipped is no rung above, whatever its rung
        (ladder(STEPS, 0, ["a"]), [False, False, False], [False, False, True], [False, True, True]),
    ],
)
def test_what_is_above_what_is_last_and_what_was_skipped(
    of: Ladder, above: list[bool], last: list[bool], skipped: list[bool]
) -> None:
    for at, one in enumerate(of.models):
        of.at = at
        assert of.current is one[1]
        assert (of.rung_above, of.is_last_resort, of.is_skipped) == (above[at], last[at], skipped[at])


@pytest.mark.parametrize(
    ("at", "tries", "more_room", "final"),
    [
        (0, 0, False, False),
        (0, 1, False, False),
        (2, 0, True, False),
        (2, 0, False, True),
        (2, 1, True, True),
        (2, 1, False, True),
    ],
)
def test_the_final_try_is_the_one_that_no_rung_and_no_retry_can_better(
    at: int, tries: int, more_room: bool, final: bool
) -> None:
    one = ladder()
    one.at, one.tried = at, ["x"] * tries
    assert one.is_final_try(more_room=more_room) is final


# --- after a failure


def test_a_retry_stays_where_it_is_and_knows_whom_it_tried() -> None:
    one = ladder()
    assert after(one, BROKEN, others=1) == Move("retry", is_repeat=True)
    assert (one.current, one.tried) == (A, ["a/0"])


def test_an_escalation_begins_anew_on_the_next_rung() -> None:
    one = ladder()
    assert after(one, BROKEN) == Move("escalate", is_higher=True)
    assert (one.current, one.tried) == (B, [])


def test_a_request_is_retried_once_however_many_models_it_asks() -> None:
    one = ladder(STEPS)
    assert after(one, BROKEN, others=3, retried=True) == Move("escalate", is_higher=True)


def test_the_only_rung_s_only_replica_is_asked_again() -> None:
    one = ladder(((A,),))
    assert after(one, BROKEN) == Move("retry", is_repeat=True)
    assert after(one, BROKEN, tries=2) == Move("fail")
    assert one.current is A


def test_an_expert_stands_in_for_one_beside_it_as_a_repeat() -> None:
    one = ladder(EXPERTS)
    assert after(one, BROKEN) == Move("escalate", is_repeat=True)
    assert (one.current, one.tried) == (B, [])
    assert after(one, BROKEN, retried=True) == Move("escalate", is_higher=True)
    assert one.current is LLM


@pytest.mark.parametrize("error", [UNABLE, DOWN])
def test_an_expert_that_was_never_asked_is_not_repeated(error: ApiError) -> None:
    one = ladder(EXPERTS)
    assert after(one, error, tries=0) == Move("escalate")
    assert one.current is B


@pytest.mark.parametrize("error", [UNSURE, INVALID, CUT])
def test_an_answer_that_is_not_good_enough_passes_over_the_experts_beside_it(error: ApiError) -> None:
    one = ladder(EXPERTS)
    assert after(one, error, tries=2) == Move("escalate", is_higher=True)
    assert one.current is LLM


def test_on_the_last_rung_an_invalid_answer_is_not_taken_to_the_expert_beside_it() -> None:
    assert after(ladder(((A, B),)), INVALID, tries=2) == Move("fail")


# --- who was skipped


def test_who_was_skipped_is_asked_where_the_fallback_cannot_answer() -> None:
    one = ladder(STEPS, start=2)
    assert after(one, BROKEN, tries=2) == Move("escalate", is_repeat=True)
    assert (one.current, one.is_skipped) == (A, True)
    assert after(one, BROKEN, tries=2, retried=True) == Move("escalate", is_higher=True)
    assert (one.current, one.is_last_resort) == (B, True)
    assert after(one, BROKEN, tries=2, retried=True) == Move("fail")


def test_the_fallback_is_asked_again_before_who_was_skipped() -> None:
    one = ladder(STEPS, start=2)
    assert after(one, BROKEN) == Move("retry", is_repeat=True)
    assert one.current is LLM


@pytest.mark.parametrize(
    ("error", "may_ask"),
    [
        (BROKEN, False),  # an unsure answer is at hand
        (OWN_FAULT, True),  # every model would refuse
        (INVALID, True),  # the policy expects no better of them
        (UNSURE, True),
    ],
)
def test_otherwise_the_fallback_s_failure_is_the_end(error: ApiError, may_ask: bool) -> None:
    one = ladder(STEPS, start=2)
    assert after(one, error, tries=2, skipped=may_ask) == Move("fail")
    assert one.current is LLM


# --- whose replicas have failed lately


@pytest.mark.parametrize("error", [UNABLE, DOWN, BROKEN, UpstreamRejected(429, {})])
def test_whose_breakers_are_open_is_asked_after_all_where_nobody_else_answers(error: ApiError) -> None:
    one = ladder(STEPS)
    assert after(one, RESTING, tries=0) == Move("escalate", is_higher=True)
    assert after(one, error, tries=2) == Move("escalate", is_higher=True)
    assert (one.current, one.is_last_resort) == (LLM, True)
    assert after(one, error, tries=2).step == "escalate"
    assert (one.current, one.is_last_resort, one.is_skipped) == (A, True, False)
    assert after(one, BROKEN, tries=2) == Move("fail")


def test_all_whose_breakers_are_open_are_asked_in_their_order() -> None:
    one = ladder(STEPS)
    for _ in range(2):
        after(one, RESTING, tries=0)
    asked = []
    while after(one, UNABLE, tries=0).step != "fail":
        asked.append((one.current.name, one.is_last_resort))
    assert asked == [("a", True), ("b", True)]


@pytest.mark.parametrize(
    ("error", "step"), [(DOWN, "escalate"), (BROKEN, "escalate"), (UpstreamRejected(429, {}), "fail")]
)
def test_who_wants_a_pause_gets_it_unless_the_others_are_broken(error: ApiError, step: str) -> None:
    one = ladder(STEPS)
    for _ in range(2):
        after(one, Resting("x"), tries=0)
    assert one.current is LLM
    assert after(one, error, tries=2).step == step
    assert (one.current is A) is (step == "escalate")


def test_whose_breakers_are_open_is_left_in_peace_where_another_answered() -> None:
    one = ladder(STEPS)
    after(one, RESTING, tries=0)
    after(one, UNABLE, tries=0)
    assert after(one, INVALID, tries=2) == Move("fail")


# --- any request at all


def _places(of: Ladder) -> dict[str, int]:
    return {one.name: rung for rung, one in of.models}


@given(st.data(), st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_a_request_goes_only_on_leaves_no_model_twice_and_ends(data: st.DataObject, widths: list[int]) -> None:
    rungs = tuple(tuple(model(f"m{rung}-{at}") for at in range(width)) for rung, width in enumerate(widths))
    every = [one.name for rung in rungs for one in rung]
    start = data.draw(st.integers(0, len(rungs) - 1))
    order = [name for name in every if data.draw(st.booleans())]
    one = ladder(rungs, start, order)
    assert sorted(names(one)) == sorted(every)
    rung_of, replicas = _places(one), data.draw(st.integers(1, 3))
    asked, retried, attempts, resting = [one.current.name], False, 0, 0
    while True:
        attempts += 1
        assert attempts <= MAX_TRIES_ON_A_RUNG * (len(every) + resting), "it does not end"
        possible = [error for error in ERRORS if not (error is RESTING and one.is_last_resort)]
        error, before, was_chosen = data.draw(st.sampled_from(possible)), one.current.name, not one.is_skipped
        if error is RESTING:
            resting += 1
            asked.remove(before)
        if error not in (DOWN, RESTING, UNABLE):  # these come before anybody was asked
            one.tried.append(f"{before}/x")
        others = max(0, replicas - len(one.tried))
        may_ask = data.draw(st.booleans())
        move = one.next_step(classify(error), other_replicas=others, retried=retried, may_ask_skipped=may_ask)
        retried = retried or move.is_repeat
        assert not (move.is_repeat and move.is_higher)
        assert move.is_higher == (rung_of[one.current.name] > rung_of[before])
        if move.step != "escalate":
            assert one.current.name == before
        else:
            assert one.current.name not in asked
            assert one.tried == []
            asked.append(one.current.name)
            if one.at < len(every) and not one.is_skipped:
                assert was_chosen
                assert rung_of[one.current.name] >= rung_of[before]
            else:
                assert may_ask
        if move.step == "fail":
            break


# --- the rungs that the client allows


def _route(rungs: tuple[Rung, ...] = STEPS, fallback: Model = LLM) -> Route:
    return Route("auto", rungs, fallback)


def test_without_fallback_the_last_rung_is_not_asked() -> None:
    assert allowed_rungs(_route(), call()) == STEPS
    assert allowed_rungs(_route(), call(routing={"allow_fallback": False})) == STEPS[:-1]


def test_a_rung_is_left_where_it_is_the_only_one_or_not_the_fallback() -> None:
    no_fallback = call(routing={"allow_fallback": False})
    assert allowed_rungs(_route(((LLM,),)), no_fallback) == ((LLM,),)
    assert allowed_rungs(_route(STEPS, fallback=large("absent")), no_fallback) == STEPS
