"""Calls that a model writes as text reach the client as calls, whatever the family's format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai import OpenAI

from tests.support.behaviours import answer, stream
from tests.support.lanes import Lane, Plan, usual
from tests.support.stream_events import DONE, delta, finished, first, split, sse
from tests.support.written_calls import WRITERS, Writer

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
MADE = [("weather", {"city": "Málaga 漢 🎉", "days": 2}), ("weather", {"city": "<Paris>"})]


def describe(plan: Plan) -> None:
    usual(plan)


@pytest.mark.parametrize("size", [1, 3])
def test_the_sdk_gets_calls_from_streams_that_come_byte_by_byte(lane: Lane, size: int) -> None:
    with OpenAI(base_url=f"{lane.gateway.url}/v1", api_key="none", max_retries=0) as client:
        for writer in WRITERS:
            choice = streamed_to_the_sdk(lane, client, writer, size)
            calls = choice.message.tool_calls or []
            assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == MADE, writer
            assert choice.finish_reason == "tool_calls"
            assert not choice.message.content
            assert len({call.id for call in calls}) == len(calls)


def streamed_to_the_sdk(lane: Lane, client: OpenAI, writer: Writer, size: int) -> Any:
    text = writer.write(MADE)
    events = [first(), *(delta(text[at : at + size]) for at in range(0, len(text), size)), finished(), DONE]
    lane.slm.then(stream(*split(b"".join(map(sse, events)), size)))
    question: Any = [{"role": "user", "content": "How is the weather?"}]
    with client.chat.completions.stream(model=lane.name("slm"), messages=question, tools=TOOLS) as helper:
        return helper.get_final_completion().choices[0]


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "weather"}}], ids=str)
def test_a_whole_answer_has_calls(lane: Lane, choice: object) -> None:
    for writer in WRITERS:
        lane.slm.then(answer(f"Which city?\n</think>\n\n{writer.write(MADE)}"))
        reply = lane.chat("slm", tools=TOOLS, tool_choice=choice)
        message = reply.json["choices"][0]["message"]
        calls = [
            (call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message["tool_calls"]
        ]
        assert calls == MADE, writer
        assert (message["content"], message["reasoning_content"]) == (None, "Which city?")
        assert reply.said("structured") == "repaired"
