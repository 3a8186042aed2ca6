"""Requests of equal work."""

from __future__ import annotations

import json

import pytest

from benchmarks.common.load import Answer
from benchmarks.vllm.bodies import Bodies, WrongTokenCount, count_tokens, prompt_tokens


def answer(body: bytes) -> Answer:
    return Answer(200, 0.0, None, 1.0, 0, body, "")


def test_no_prompt_comes_twice_and_all_are_equally_long() -> None:
    bodies = Bodies(words=5)
    made = [json.loads(bodies.make("m", max_tokens=8, stream=bool(i % 2))) for i in range(50)]
    prompts = [body["messages"][0]["content"] for body in made]
    assert len({prompt[:12] for prompt in prompts}) == 50, "no prefix cache gains by what came before"
    assert len({len(prompt) for prompt in prompts}) == 1
    assert len({prompt[12:] for prompt in prompts}) == 1
    assert len(prompts[0].split()) == 6


def test_every_answer_is_as_long_as_it_is_told() -> None:
    body = json.loads(Bodies(1).make("m", max_tokens=8, stream=True))
    assert {"max_tokens": 8, "temperature": 0, "ignore_eos": True, "skip_special_tokens": False}.items() <= body.items()
    assert body["stream_options"] == {"include_usage": True}
    assert "stream" not in json.loads(Bodies(1).make("m", max_tokens=8, stream=False))


def test_tokens_are_those_of_the_last_usage() -> None:
    whole = answer(b'{"usage": {"prompt_tokens": 12, "completion_tokens": 4}}')
    stream = answer(b'data: {"usage":{"prompt_tokens":12,"completion_tokens":1}}\n\n'
                    b'data: {"usage":{"prompt_tokens":12,"completion_tokens":4}}\n\ndata: [DONE]\n\n')  # fmt: skip
    assert count_tokens([whole, stream], 4) == 8
    assert prompt_tokens(stream) == 12


@pytest.mark.parametrize("body", [b'{"usage": {"completion_tokens": 3}}', b"{}", b""])
def test_an_answer_of_another_length_spoils_the_measurement(body: bytes) -> None:
    with pytest.raises(WrongTokenCount, match="instead of 4"):
        count_tokens([answer(body)], 4)
    assert prompt_tokens(answer(body)) == 0
