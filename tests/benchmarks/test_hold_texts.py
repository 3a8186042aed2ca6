"""Plain text with a field a line: how it is read, and what it is worth."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.routing.live.hold.texts import EXAMPLES, TextTask, read_lines, text_tasks
from benchmarks.structured.reply import Reply

WANTED = {"supplier": "Alder & Sons", "total": 120.5, "currency": "EUR"}
FOUND = {"supplier": "Alder & Sons", "total": 120.5, "currency": "EUR"}


@pytest.mark.parametrize(
    "text",
    [
        "supplier: Alder & Sons\ntotal: 120.5\ncurrency: EUR",
        "- **Supplier**: Alder & Sons\n- **Total:** 120.5\n- **Currency**: `EUR`.",
        'Here it is:\n\n"supplier": "Alder & Sons",\r\n"total": 120.5,\r\n"currency": "EUR"\r\n',
        "supplier: Alder & Sons\ntotal: 120.5 EUR\ncurrency: EUR\n\nsupplier: Copper Kettle\ntotal: 3",
        "1. supplier : Alder & Sons\n2. total : 120.5\n3. currency : EUR\nnote: paid",
    ],
)
def test_fields_are_found_however_a_model_decorates_its_lines(text: str) -> None:
    assert read_lines(text, WANTED) == FOUND


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("Alder & Sons, 120.5 EUR", {}),
        ("total: a lot", {}),
        ("total:\nsupplier: Alder", {"supplier": "Alder"}),
        ("total: 120", {"total": 120.0}),
        ("time: 10:45", {}),
    ],
)
def test_what_is_not_told_is_not_found(text: str, found: dict[str, object]) -> None:
    assert read_lines(text, WANTED) == found


def test_a_value_may_have_a_colon() -> None:
    assert read_lines("time: 10:45", {"time": "10:45"}) == {"time": "10:45"}


@settings(deadline=None)
@given(st.text() | st.text("totalTOTAL:*-_ 0123456789.\n\r"))
@example("total: +1.\n:\n::\n: total")
def test_no_text_is_too_odd(text: str) -> None:
    found = read_lines(text, WANTED)
    assert found.keys() <= WANTED.keys()
    assert all(isinstance(found[name], type(value)) for name, value in WANTED.items() if name in found)


@settings(deadline=None)
@given(st.integers(0, 40))
def test_an_answer_that_has_every_field_is_right(place: int) -> None:
    task = text_tasks(41, 0)[place]
    lines = [f"{name}: {value}" for name, value in fields(task).items()]
    assert task.quality(said("\n".join(lines))) == 1
    assert task.quality(said("\n".join(lines[:-1]), finish="length")) == pytest.approx(1 - 1 / len(lines))


def test_no_answer_has_no_right_fields() -> None:
    [task] = text_tasks(0, 1)
    assert task.quality(Reply(502, error="bad")) == 0
    assert task.quality(said(None)) == 0


def test_tasks_ask_for_their_fields_in_plain_text() -> None:
    every = text_tasks(7, 5)
    assert [task.held_out for task in every] == [False] * 7 + [True] * 5
    assert len({task.id for task in every}) == 12
    for task in every:
        system, *examples, user = task.asked["messages"]
        assert all(name in system["content"] for name in fields(task))
        assert [one["role"] for one in examples] == ["user", "assistant"] * EXAMPLES
        for shown in examples[1::2]:
            assert read_lines(shown["content"], fields(task)).keys() == fields(task).keys()
        assert all(str(value) in user["content"] for value in fields(task).values())
        assert user not in examples
        assert "response_format" not in task.asked


def fields(task: TextTask) -> dict[str, object]:
    return dict(task.expected.fields)  # type: ignore[union-attr]


def said(text: str | None, finish: str = "stop") -> Reply:
    return Reply(200, {}, {"message": {"content": text}, "finish_reason": finish})
