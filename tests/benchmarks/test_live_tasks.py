"""The tasks of the live benchmark: what they ask, and when an answer is right."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from benchmarks.routing.live.extraction import KINDS, messages, right_fields
from benchmarks.routing.live.figures import figures
from benchmarks.routing.live.stages import labelled
from benchmarks.routing.live.tasks import CALLS, EXTRACTION, Task, tasks
from benchmarks.structured.data import TASKS
from benchmarks.structured.reply import Reply

TOOL = {"type": "function", "function": {"name": "a_b", "parameters": {"type": "object"}}}


@pytest.fixture
def every(tmp_path: Path) -> list[Task]:
    return tasks(data(tmp_path, 4), 4)


def data(folder: Path, count: int) -> Path:
    """Write tasks of which each has one right call, and some that are of no use here."""
    one = {"messages": [{"role": "user", "content": "?"}], "tools": [TOOL], "name_map": {"a_b": "a.b"}, "category": "x",
           "gt_first_valid": True, "expect_call": True, "ground_truth": [{"a.b": {"n": [1]}}]}  # fmt: skip
    useless = [{"ground_truth": None}, {"expect_call": False, "ground_truth": None}, {"ground_truth": [{}, {}]}]
    rows = [one | {"id": f"c{n}"} for n in range(count)] + [one | {"id": "x"} | other for other in useless]
    (folder / TASKS).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def called(arguments: str, *, seconds: float = 1.0, **said: str) -> Reply:
    call = {"id": "1", "type": "function", "function": {"name": "a_b", "arguments": arguments}}
    choice = {"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
    return Reply(200, said, choice, usage={"completion_tokens": 5}, seconds=seconds)


def extracted(fields: Any, finish: str = "stop", **said: str) -> Reply:
    return Reply(200, said, {"message": {"content": json.dumps(fields)}, "finish_reason": finish}, seconds=3.0)


def test_messages_hold_their_fields_and_no_two_are_alike() -> None:
    made = messages(200)
    assert made == messages(200)
    assert len({message.text for message in made}) == 200
    assert {message.kind for message in made} == set(KINDS)
    for message in made:
        assert all(str(value) in message.text for value in message.fields.values())
        assert not re.search(r"[{}]", message.text)
        jsonschema_rs.validate(KINDS[message.kind].json_schema(), message.fields)


@pytest.mark.parametrize(
    ("given", "share"),
    [
        ({"a": "New York", "n": 3}, 1),
        ({"a": " new  york", "n": 3.0, "more": 1}, 1),
        ({"a": "York", "n": 3}, 0.5),
        ({"a": "New York", "n": "3"}, 0.5),
        ({"a": "New York"}, 0.5),
        ({"n": True}, 0),
        ([], 0),
    ],
)
def test_fields_are_graded_one_by_one(given: object, share: float) -> None:
    assert right_fields({"a": "New York", "n": 3}, given) == share


def test_only_tasks_with_one_right_call_are_taken_and_as_many_of_each_set_are_held_out(tmp_path: Path) -> None:
    every = tasks(data(tmp_path, 10), 6)
    assert [task.id for task in every if task.set == CALLS] == [f"c{n}" for n in range(6)]
    assert [task.held_out for task in every if task.set == CALLS] == [False, True] * 3
    assert [task.held_out for task in every if task.set == EXTRACTION] == [False, False, True] * 3
    assert all("model" not in task.asked for task in every)


def test_quality_is_a_right_call_or_the_share_of_right_fields(every: list[Task]) -> None:
    call, extraction = every[0], every[-1]
    assert call.quality(called('{"n": 1}')) == 1
    assert call.quality(called('{"n": 2}')) == call.quality(Reply(502, error="bad")) == 0
    fields = extraction.expected.fields  # type: ignore[union-attr]
    assert extraction.quality(extracted(fields)) == 1
    first = next(iter(fields))
    assert extraction.quality(extracted(fields | {first: "?"})) == pytest.approx(1 - 1 / len(fields))
    assert extraction.quality(extracted(fields, finish="length")) == 0, "a cut answer is none"
    assert extraction.quality(extracted({})) == 0, "what breaks the schema is none"


def test_figures_of_one_way(every: list[Task]) -> None:
    replies = {task.id: called('{"n": 2}', model="small", **{"cost-usd": "0.001"}) for task in every}
    alone = {
        "small": dict(replies),
        "large": dict.fromkeys(replies, called("{}", model="large", **{"cost-usd": "0.002"})),
    }
    replies["c0"] = called('{"n": 1}', seconds=3.0, model="large", reason="confidence", **{"cost-usd": "0.005"})
    replies["c1"] = called('{"n": 1}', model="large", reason="cascade: skipped")
    replies["c2"] = Reply(502, error="bad")
    found = figures(every[:4], replies, alone)
    assert (found["calls"], found["errors"], found["right"]["value"]) == (4, 1, 0.5)
    assert found["sets"] == {CALLS: {"calls": 4, "right": 0.5, "quality": 0.5}}
    assert (found["by_large"], found["escalated"]) == (0.5, 0.25)
    assert found["usd_per_1000"] == pytest.approx(3.0)
    assert found["usd_per_1000_apart"] == pytest.approx((3 + 2 + 1 + 1) / 4)
    assert found["mean_s"] == pytest.approx(5 / 3)


def test_graded_answers_become_labelled_calls(every: list[Task]) -> None:
    call, extraction = every[0], every[-1]
    line = labelled(call, {"small": called('{"n": 2}'), "large": Reply(502, error="bad")})
    assert line["task"] == "function-calling"
    assert line["request"] == call.asked
    assert line["answers"]["small"]["quality"] == 0
    assert line["answers"]["small"]["usage"] == {"completion_tokens": 5}
    assert line["answers"]["large"] == {"quality": 0}
    assert "task" not in labelled(extraction, {})
