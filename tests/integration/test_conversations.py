"""Later turns of a conversation that was escalated: where they start, and how the client learns of it."""

from __future__ import annotations

from typing import Any

from tests.support.behaviours import answer, too_long
from tests.support.lanes import Lane, Plan, usual


def describe(plan: Plan) -> None:
    usual(plan)


def turn(*said: str) -> list[dict[str, Any]]:
    """The messages of a client whose user said this; the model answered in between."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}]
    for text in said:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]
    return messages[:-1]


def test_the_next_turns_start_where_the_conversation_was_escalated_to(lane: Lane) -> None:
    lane.slm.always(too_long())
    lane.assert_escalated(lane.chat(messages=turn("a")), "context")
    lane.slm.always(answer())
    for said in ("ab", "abc"):
        reply = lane.chat(messages=turn(*said))
        assert (reply.said("model"), reply.said("reason"), reply.said("attempts")) == (
            lane.name("llm"),
            "conversation",
            "1",
        )
    streamed = lane.stream(messages=turn(*"abcd"))
    assert (streamed.said("model"), streamed.said("reason")) == (lane.name("llm"), "conversation")
    assert lane.chat(messages=turn("x", "b")).said("reason") == "fixed", "another conversation"
    assert lane.chat(messages=turn("a")).said("reason") == "fixed", "the same question again"


def test_examples_in_the_prompt_are_no_conversation(lane: Lane) -> None:
    lane.slm.always(too_long())
    lane.assert_escalated(lane.chat(messages=turn("example", "example 2", "question")), "context")
    lane.slm.always(answer())
    assert lane.chat(messages=turn("example", "example 2", "another question")).said("reason") == "fixed"


def test_a_session_is_recognised_after_its_history_was_rewritten(lane: Lane) -> None:
    headers = {"x-session-id": f"session-{lane.number}"}
    lane.slm.always(too_long())
    lane.assert_escalated(lane.chat(messages=turn("a"), headers=headers), "context")
    lane.slm.always(answer())
    assert lane.chat(messages=turn("so far", "b"), headers=headers).said("reason") == "conversation"
    assert lane.chat(messages=turn("so far", "b")).said("reason") == "fixed"
    assert lane.chat(messages=turn("title of it?"), headers=headers).said("reason") == "fixed", "it has no history"
