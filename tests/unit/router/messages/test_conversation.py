from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.messages.conversation import MAX_TEXTS, SAMPLED, earlier_turn_key, prefix_key, turn_key
from tests.support.fakes import call

SYSTEM = {"role": "system", "content": "You answer briefly."}


def said(role: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def prefix(*messages: dict[str, Any], session: str = "", **fields: Any) -> int | None:
    return prefix_key(call(messages=list(messages), **fields), session)


FIRST = (SYSTEM, said("user", "Which city?"))
SECOND = (*FIRST, said("assistant", "Paris."), said("user", "And its river?"))
TOOL = (*FIRST, said("assistant", None, tool_calls=[]), said("tool", "42", tool_call_id="call_1"))


def test_all_turns_of_a_conversation_have_one_prefix() -> None:
    third = (*SECOND, said("assistant", "The Seine."), said("user", "How long is it?"))
    assert prefix(*FIRST) == prefix(*SECOND) == prefix(*third) == prefix(*TOOL)


@pytest.mark.parametrize(
    "other",
    [
        (SYSTEM, said("user", "Which river?")),
        (said("system", "You answer at length."), said("user", "Which city?")),
        (said("developer", "You answer briefly."), said("user", "Which city?")),
        (said("user", "Which city?"),),
        (SYSTEM, said("user", [{"type": "text", "text": "Which city?"}])),
    ],
)
def test_another_beginning_is_another_prefix(other: tuple[dict[str, Any], ...]) -> None:
    assert prefix(*other) != prefix(*FIRST)


def test_texts_do_not_run_into_each_other() -> None:
    assert prefix(said("user", [said("ab", "c")])) != prefix(said("user", [said("a", "bc")]))


def test_a_session_is_the_prefix_else_the_cache_key_else_the_beginning() -> None:
    other = (said("user", "Something else."),)
    assert prefix(*FIRST, session="s1") == prefix(*other, session="s1") != prefix(*FIRST, session="s2")
    assert prefix(*FIRST, prompt_cache_key="k") == prefix(*other, prompt_cache_key="k") == prefix(*FIRST, session="k")
    assert prefix(*FIRST, prompt_cache_key="k", session="s1") == prefix(*FIRST, session="s1")
    for unset in (None, "", 7, ["k"]):
        assert prefix(*FIRST, prompt_cache_key=unset) == prefix(*FIRST)


def test_plain_prompts_have_a_key_only_if_the_client_names_one() -> None:
    one = call(endpoint="completions", prompt="The capital of France is")
    assert prefix_key(one, "") is None
    assert prefix_key(one, "s1") == prefix(*FIRST, session="s1")
    assert prefix(*()) is None


def test_long_texts_count_by_their_ends_and_their_length() -> None:
    length = 10 * SAMPLED
    long = "x" * length
    keys = [
        prefix(said("user", text))
        for text in (long, "y" + long[1:], long[:-1] + "y", long + "x", long[:SAMPLED] + "y" + long[SAMPLED + 1 :])
    ]
    assert len(set(keys[:4])) == 4
    assert keys[4] == keys[0], "the middle of a long text is not read"
    part = {"type": "text", "text": "x"}
    assert prefix(said("user", [part] * MAX_TEXTS)) == prefix(said("user", [part] * 10_000))


def test_a_turn_is_found_by_the_next_one() -> None:
    for first, later in (
        (FIRST, SECOND),
        (FIRST, TOOL),
        (SECOND, (*SECOND, said("assistant", "x"), said("user", "y"))),
    ):
        assert earlier_turn_key(call(messages=list(later)), "") == turn_key(call(messages=list(first)), "")
    shortened = (*FIRST, said("assistant", "[...]"), said("user", "And its river?"))
    assert turn_key(call(messages=list(shortened)), "") == turn_key(call(messages=list(SECOND)), "")
    assert earlier_turn_key(call(messages=list(FIRST)), "") is None, "there was none"
    assert earlier_turn_key(call(messages=[said("assistant", "Hello."), *FIRST]), "") is None, "nobody asked for it"


def test_examples_in_a_prompt_are_no_conversation() -> None:
    examples = [SYSTEM, said("user", "a"), said("assistant", "A"), said("user", "b"), said("assistant", "B")]
    asked = [call(messages=[*examples, said("user", text)]) for text in "cd"]
    noted = {turn_key(one, "") for one in asked}
    assert len(noted) == 2
    assert earlier_turn_key(asked[0], "") == earlier_turn_key(asked[1], "")
    assert earlier_turn_key(asked[0], "") not in noted


def test_a_session_is_found_whatever_became_of_its_history() -> None:
    compacted = [said("user", "So far: a city was asked for."), said("assistant", "Yes."), said("user", "And?")]
    assert earlier_turn_key(call(messages=compacted), "s1") == turn_key(call(messages=list(FIRST)), "s1")
    assert earlier_turn_key(call(messages=compacted), "s2") != turn_key(call(messages=list(FIRST)), "s1")
    assert earlier_turn_key(call(messages=list(FIRST)), "s1") is None, "a request without a history begins anew"


def test_routes_have_conversations_of_their_own() -> None:
    one, other = (call(model=model, messages=list(FIRST)) for model in ("auto", "best"))
    for session in ("", "s1"):
        assert turn_key(one, session) != turn_key(other, session)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "role": st.sampled_from(["system", "user", "assistant", "tool"]),
                "content": st.none() | st.text(max_size=50) | st.lists(st.fixed_dictionaries({"text": st.text()})),
            }
        ),
        min_size=1,
        max_size=12,
    )
)
def test_keys_fit_into_a_cell_and_turns_into_chains(messages: list[dict[str, Any]]) -> None:
    one = call(messages=messages)
    keys = [prefix_key(one, ""), turn_key(one, ""), earlier_turn_key(one, "")]
    assert all(key is None or 0 < key < 2**63 for key in keys)
    later = call(messages=[*messages, said("assistant", "x"), said("user", "y")])
    assert earlier_turn_key(later, "") == turn_key(one, "")


def test_keys_are_the_same_in_every_process() -> None:
    program = "from router.messages.conversation import _key; print(_key(['a', 'b']))"
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
