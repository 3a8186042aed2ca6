"""Thoughts under both names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from router.messages.reasoning_names import with_both_names
from router.types import Reply
from tests.support.fakes import chunk, whole


def test_a_whole_answer() -> None:
    answer = json.loads(whole("Paris."))
    answer["choices"][0]["message"]["reasoning_content"] = "Hm."
    message = json.loads(with_both_names(Reply(json.dumps(answer).encode())).body)["choices"][0]["message"]
    assert message["reasoning"] == message["reasoning_content"] == "Hm."


def test_an_answer_without_thoughts_keeps_its_bytes() -> None:
    assert with_both_names(Reply(whole("Paris."))).body == whole("Paris.")
    unreadable = b'{"choices": [{"message": {"reasoning_content": "\\ud800"}}]}'
    assert with_both_names(Reply(unreadable)).body == unreadable


async def test_a_stream() -> None:
    async def events() -> AsyncIterator[list[bytes]]:
        yield [chunk(reasoning_content="Hm."), chunk("Paris.")]

    streamed = with_both_names(Reply(events=events())).events
    assert streamed is not None
    [[thought, text]] = [together async for together in streamed]
    assert json.loads(thought)["choices"][0]["delta"] == {"reasoning_content": "Hm.", "reasoning": "Hm."}
    assert text == chunk("Paris.")
