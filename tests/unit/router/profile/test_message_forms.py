from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.profile.message_forms import FORMS

CONTENTS = st.none() | st.text(max_size=5) | st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=5)}), max_size=3
)  # fmt: skip
IDS = st.text(max_size=60)
CALLS = st.lists(st.fixed_dictionaries({"id": IDS, "type": st.just("function")}), min_size=1, max_size=2)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user", "assistant"]), "content": CONTENTS})
    | st.fixed_dictionaries({"role": st.just("assistant"), "content": CONTENTS, "tool_calls": CALLS})
    | st.fixed_dictionaries({"role": st.just("tool"), "content": CONTENTS, "tool_call_id": IDS}),
    max_size=6,
)


def texts(messages: list[dict[str, Any]]) -> str:
    """Return all texts, without what stands between them."""
    found = [message["content"] for message in messages]
    parts = [one if isinstance(one, str) else "".join(part["text"] for part in one or ()) for one in found]
    return "".join("".join(parts).split())


@pytest.mark.parametrize("form", FORMS)
@given(messages=MESSAGES)
def test_a_form_is_stable_and_loses_no_text(form: str, messages: list[dict[str, Any]]) -> None:
    once = FORMS[form](messages)
    assert FORMS[form](once) == once
    assert sorted(texts(messages)) == sorted(texts([one for one in once if one not in ADDED]))  # type: ignore[misc]
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    assert len([call for message in once for call in message.get("tool_calls") or ()]) == len(calls)


ADDED = [{"role": "system", "content": "Answer in JSON."}]


@given(messages=MESSAGES)
def test_the_forms_are_what_their_names_say(messages: list[dict[str, Any]]) -> None:
    roles = [one["role"] for one in FORMS["no_system"](messages)]
    assert not {"system", "developer"} & {*roles}
    roles = [one["role"] for one in FORMS["system_first"](messages)]
    assert "system" not in roles[1:]
    roles = [one["role"] for one in FORMS["alternating_roles"](messages)]
    assert not any(a == b == "user" for a, b in itertools.pairwise(roles))
    assert all(isinstance(one["content"], str) for one in FORMS["text_content"](messages))


@given(ids=st.lists(IDS, unique=True, max_size=20))
def test_different_ids_stay_different(ids: list[str]) -> None:
    messages = [{"role": "tool", "content": "x", "tool_call_id": one} for one in ids]
    for form, length in (("call_ids_9", 9), ("call_ids_40", 40)):
        mapped = [one["tool_call_id"] for one in FORMS[form](messages)]
        assert len({*mapped}) == len(ids)
        assert all(len(one) <= length for one in mapped)


def test_ids_of_other_characters_are_mapped_and_others_stay() -> None:
    ids = ["functions.weather:0", "call_1-a"]
    mapped = FORMS["call_ids_40"]([{"role": "tool", "content": "x", "tool_call_id": one} for one in ids])
    assert mapped[0]["tool_call_id"].isalnum()
    assert mapped[1]["tool_call_id"] == "call_1-a"
