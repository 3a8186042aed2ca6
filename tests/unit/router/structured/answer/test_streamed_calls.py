"""Calls in text, streamed in odd pieces through the whole dispatch: the client sees calls, and no tag of any format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.answer.assemble import StreamAssembler
from tests.support.fakes import DONE, ROLE, chunk, streams
from tests.support.inprocess import Dispatching
from tests.support.written_calls import WRITERS, Writer

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "tags": {"type": "array"}},
                "required": ["city"],
            },
        },
    }
    for name in ("weather", "forecast")
]
NAMED = {"type": "function", "function": {"name": "weather"}}
MADE = [("weather", {"city": "Zoë's 漢字 🎉", "days": 3}), ("weather", {"city": "<b>\n", "tags": ["a", 1.5, None]})]
PREFIX = {"routing": {"stream_check": "prefix"}}


def events(content: str, size: int, finish: str = "stop") -> list[Any]:
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return [[ROLE], *([chunk(piece)] for piece in pieces), [chunk(finish=finish), DONE]]


async def streamed(content: str, size: int, **fields: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the assembled choice, and its pieces of content."""
    dispatching = Dispatching(script={"slm-0": [streams(events(content, size))]})
    got = [json.loads(event) for event in await dispatching.ask(stream=True, tools=TOOLS, **fields)]
    assembler = StreamAssembler()
    for event in got:
        assembler.add(event)
    (choice,) = assembler.choices()
    parts = [part for event in got for part in event["choices"]]
    return choice, [text for part in parts if (text := part["delta"].get("content"))]


def calls_of(choice: dict[str, Any]) -> list[tuple[str, Any]]:
    made = choice["message"].get("tool_calls", [])
    assert len({one["id"] for one in made}) == len(made)
    assert all(one["id"] and one["type"] == "function" for one in made)
    return [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in made]


@pytest.mark.parametrize(
    "asked", [{}, {"tool_choice": "required"}, {"tool_choice": NAMED}, {"tool_choice": NAMED} | PREFIX]
)
@pytest.mark.parametrize("writer", WRITERS, ids=str)
async def test_calls_in_every_format(writer: Writer, asked: dict[str, Any]) -> None:
    for size in (1, 3, 1000):
        choice, content = await streamed(writer.write(MADE), size, **asked)
        assert calls_of(choice) == MADE
        assert choice["finish_reason"] == "tool_calls"
        assert content == []


@given(st.sampled_from(WRITERS), st.integers(1, 20), st.text("abc \n"), st.booleans())
async def test_after_reasoning(writer: Writer, size: int, thought: str, is_open: bool) -> None:
    """Where the prompt opened the block, the reasoning is sent before it can be recognized."""
    text = f"Well, {thought}</think>\n\n{writer.write(MADE)}"
    choice, content = await streamed(text if is_open else f"<think>\n{text}", size)
    assert (calls_of(choice), choice["finish_reason"]) == (MADE, "tool_calls")
    reasoning = f"Well, {thought}"
    if content:
        assert is_open
        assert "".join(content) == f"{reasoning}</think>"
    else:
        assert choice["message"]["reasoning_content"].strip() == reasoning.strip()


@pytest.mark.parametrize("writer", WRITERS, ids=str)
async def test_calls_of_other_functions_are_sent_as_they_came(writer: Writer) -> None:
    text = writer.write([("cook", {"city": "x"})])
    for size in (1, 3):
        choice, content = await streamed(text, size)
        assert ("".join(content), choice["finish_reason"]) == (text, "stop")
        assert "tool_calls" not in choice["message"]


@given(
    st.sampled_from(
        ["Paris is nice.", "[see](x)", "{is} nice", '{"city": "Paris"}', "```python\nx = [1]\n```", "Hm.</think>Yes."]
    ),
    st.integers(1, 5),
)
async def test_words_are_sent_as_they_came(text: str, size: int) -> None:
    choice, content = await streamed(text, size)
    assert ("".join(content), choice["finish_reason"]) == (text, "stop")


async def test_each_choice_is_one_of_both() -> None:
    call = WRITERS[0].write(MADE)
    steps = [
        [chunk("Hm", index=0), chunk("Paris ", index=1)],
        [chunk(f".</think>{call[:9]}", index=0), chunk("is nice.", index=1)],
        [chunk(call[9:], index=0)],
        [chunk(finish="stop", index=0), chunk(finish="stop", index=1), DONE],
    ]
    dispatching = Dispatching(script={"slm-0": [streams(steps)]})
    assembler = StreamAssembler()
    for event in await dispatching.ask(stream=True, tools=TOOLS, n=2):
        assembler.add(json.loads(event))
    first, second = assembler.choices()
    assert (calls_of(first), first["message"]["content"]) == (MADE, "Hm.</think>")
    assert (calls_of(second), second["message"]["content"]) == ([], "Paris is nice.")
    assert [first["finish_reason"], second["finish_reason"]] == ["tool_calls", "stop"]
