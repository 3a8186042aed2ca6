from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from router import conversations
from router.config.models import Route
from router.conversations import IDLE_S, WAYS, Conversations
from router.decision import Escalated
from router.record import Escalation, RequestRecord
from router.types import ChatCall, EscalationReason
from tests.support.fakes import call, config, large, model

ROUTE = config(model("a"), model("b"), large("c")).routes["auto"]


def messages(turn: int, about: str = "x") -> list[dict[str, str]]:
    """What a client sends at this turn, counted from 1."""
    said = [{"role": "user", "content": about}]
    for number in range(1, turn):
        said += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"and {number}?"}]
    return said


def turn(number: int, about: str = "x") -> ChatCall:
    return call(messages=messages(number, about))


def record(*reasons: EscalationReason, to: Sequence[str] = "bc", answered: str = "c", **fields: Any) -> RequestRecord:
    steps = [Escalation("a", model, reason) for reason, model in zip(reasons, to, strict=False)]
    return RequestRecord("req_1", 0.0, escalations=steps, model=answered, **fields)


def recall(memory: Conversations, one: ChatCall, now: float = 1.0, *, route: Route = ROUTE, session: str = "") -> Any:
    return memory.recall(one, route, RequestRecord("req_2", 0.0, session=session), now)


@pytest.mark.parametrize(
    "reason", ["structured", "confidence", "truncated", "context", "ability", "rejected", "runaway"]
)
def test_the_next_turn_of_an_escalated_conversation_is_recognised(reason: EscalationReason) -> None:
    memory = Conversations()
    memory.note(turn(1), ROUTE, record(reason, to="c"), 1.0)
    assert recall(memory, turn(2)) == Escalated("c", 1, 0)
    assert recall(memory, turn(1)) is None
    assert recall(memory, turn(3)) is None
    assert recall(memory, turn(2, "y")) is None
    assert recall(memory, turn(2), route=config(model("a")).routes["auto"]) is None, "a route without another rung"


@pytest.mark.parametrize(
    "reason", ["unavailable", "timeout", "upstream_error", "overloaded", "cost", "policy", "hours", "misconfigured"]
)
def test_what_is_not_about_the_conversation_is_not_remembered(reason: EscalationReason) -> None:
    memory = Conversations()
    memory.note(turn(1), ROUTE, record(reason, to="c"), 1.0)
    assert recall(memory, turn(2)) is None


def test_it_stays_at_the_model_that_was_asked_because_of_the_answer() -> None:
    memory = Conversations()
    memory.note(turn(1), ROUTE, record("confidence", "unavailable"), 1.0)
    assert recall(memory, turn(2)) == Escalated("b", 1, 0), "c answered only as b was down"


def test_an_unsure_answer_is_not_remembered() -> None:
    memory = Conversations()
    memory.note(turn(1), ROUTE, record("confidence", answered="a", best_effort="unavailable"), 1.0)
    assert recall(memory, turn(2)) is None


def test_turns_and_escalations_are_counted() -> None:
    memory = Conversations()
    memory.note(turn(1), ROUTE, record("confidence", to="b", answered="b"), 1.0)
    for number in range(2, 5):
        known = recall(memory, turn(number))
        assert known == Escalated("b", 1, number - 2)
        memory.note(turn(number), ROUTE, record(answered="b", escalated=known), 1.0)
    memory.note(turn(5), ROUTE, record("structured", to="c", escalated=recall(memory, turn(5))), 1.0)
    assert recall(memory, turn(6)) == Escalated("c", 2, 0)


def test_a_conversation_that_another_model_answered_is_forgotten() -> None:
    memory = Conversations()
    memory.note(turn(2), ROUTE, record(answered="a", escalated=Escalated("c", 1, 8)), 1.0)
    assert recall(memory, turn(3)) is None


def test_an_idle_conversation_is_forgotten() -> None:
    memory = Conversations()
    memory.note(turn(1), ROUTE, record("confidence"), 1.0)
    assert recall(memory, turn(2), 1.0 + IDLE_S)
    assert recall(memory, turn(2), 1.1 + IDLE_S) is None


def test_a_session_is_recognised_by_its_name() -> None:
    memory = Conversations()
    memory.note(turn(1), ROUTE, record("confidence", session="s1"), 1.0)
    assert recall(memory, turn(4, "y"), session="s1")
    assert recall(memory, turn(2)) is None
    assert recall(memory, turn(1), session="s1") is None, "a request without a history begins anew"


def test_the_oldest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "SETS", 1)
    memory = Conversations()
    for number in range(WAYS + 1):
        memory.note(turn(1, f"about {number}"), ROUTE, record("confidence"), 1.0 + number)
    memory.note(turn(1, "about 1"), ROUTE, record("confidence"), 90.0)  # its own place again
    kept = [number for number in range(WAYS + 1) if recall(memory, turn(2, f"about {number}"), 100.0)]
    assert kept == list(range(1, WAYS + 1))


def test_workers_share_it() -> None:
    memory = Conversations(workers=2)
    if not (child := os.fork()):
        memory.note(turn(1), ROUTE, record("confidence"), 1.0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert recall(memory, turn(2)) == Escalated("b", 1, 0)


def test_plain_prompts_are_no_conversations() -> None:
    memory = Conversations()
    one = call(endpoint="completions", prompt="The capital of France is")
    memory.note(one, ROUTE, record("confidence", session="s1"), 1.0)
    assert recall(memory, one, session="s1") is None
    assert recall(memory, turn(2), session="s1") is None
