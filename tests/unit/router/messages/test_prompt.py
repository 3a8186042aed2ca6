from __future__ import annotations

from typing import Any

import pytest

from router.messages.prompt import rough_tokens, texts
from tests.support.fakes import call


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]}, ["a", "b"]),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
         ["a", "b"]),
        ({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, {"type": "text", "text": "a"},
        ]}]}, ["a"]),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, []),
        ({"messages": []}, []),
    ],
)  # fmt: skip
def test_texts_of_messages(fields: dict[str, Any], expected: list[str]) -> None:
    assert list(texts(call(**fields))) == expected


@pytest.mark.parametrize(
    ("prompt", "expected", "tokens"),
    [
        ("a" * 40, ["a" * 40], 10),
        (["a" * 20, "b" * 20], ["a" * 20, "b" * 20], 10),
        ([1, 2, 3], [], 3),
        ([[1, 2, 3], [4, 5]], [], 5),
    ],
)
def test_prompts_of_completions(prompt: object, expected: list[str], tokens: int) -> None:
    one = call(endpoint="completions", prompt=prompt)
    assert list(texts(one)) == expected
    assert rough_tokens(one) == tokens


def test_rough_tokens_of_messages() -> None:
    assert rough_tokens(call(messages=[{"role": "user", "content": "x" * 401}])) == 100


def test_a_chat_has_no_prompt_and_a_completion_no_messages() -> None:
    messages = [{"role": "user", "content": "m" * 40}]
    chat = call(messages=messages, prompt=["p" * 4000, [1, 2, 3]])
    assert (list(texts(chat)), rough_tokens(chat)) == (["m" * 40], 10)
    completion = call(endpoint="completions", messages=messages, prompt=["p" * 80])
    assert (list(texts(completion)), rough_tokens(completion)) == (["p" * 80], 20)
