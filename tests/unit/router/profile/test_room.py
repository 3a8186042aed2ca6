from __future__ import annotations

import pytest

from router.errors import UpstreamRejected
from router.profile.room import MIN_ROOM, Told, room, room_after, told
from tests.support.fakes import call


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        ("'max_tokens' is too large: 32000. This model's maximum context length is 2048 tokens and your request has 31 "
         "input tokens (32000 > 2048 - 31).", Told(2048, 31)),
        ("This model's maximum context length is 8192 tokens. However, you requested 8230 tokens (30 in the messages, "
         "8200 in the completion).", Told(8192, 30)),
        ("This model's maximum context length is 2048 tokens. However, you requested 2000 output tokens and your "
         "prompt contains at least 100 input tokens, for a total of at least 2100 tokens.", Told(2048, 100)),
        ("Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of "
         "5000 tokens: 96 tokens from the input messages and 4904 tokens for the completion.", Told(4096, 96)),
        ("Something else.", Told(None, None)),
    ],
)  # fmt: skip
def test_the_numbers_of_refusals(message: str, numbers: Told) -> None:
    assert told(UpstreamRejected(400, {"message": message})) == numbers


def test_llama_cpps_numbers() -> None:
    error = UpstreamRejected(400, {"message": "too long", "n_ctx": 2048, "n_prompt_tokens": 40})
    assert told(error) == Told(2048, 40)
    assert room_after(error, call(max_tokens=9000)) == 2008
    assert room_after(error, call(max_tokens=9)) is None
    assert room_after(error, call()) is None


def test_a_limit_that_fits_stays() -> None:
    assert room(call(max_tokens=100), 2048) is None
    assert room(call(), 2048) is None
    assert room(call(max_tokens=10**6), None) is None


def test_a_limit_that_does_not_fit_is_lowered() -> None:
    limit = room(call(max_tokens=32000), 2048)
    assert limit is not None
    assert 2048 - 100 < limit < 2048 - 50, "a template may add a system message"
    assert room(call(max_tokens=limit + 10), 2048) is None, "what probably fits stays"


def test_tools_take_room_too() -> None:
    without, with_tools = (
        room(call(max_tokens=9000), 8192),
        room(call(max_tokens=9000, tools=[{"a": "x" * 4000}]), 8192),
    )
    assert without is not None
    assert with_tools is not None
    assert without - with_tools > 900


def test_a_prompt_that_fills_the_context_leaves_the_refusal_to_the_engine() -> None:
    long = [{"role": "user", "content": "word " * 4000}]
    assert room(call(max_tokens=100, messages=long), 2048 + MIN_ROOM) is None
