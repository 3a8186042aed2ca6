"""How much more room an empty answer may get."""

from __future__ import annotations

from typing import Any

import pytest

from router.attempt.empty_answer import Expectation
from router.messages.token_limit import with_token_limit
from router.messages.visible import Visible
from router.types import Usage
from tests.support.fakes import call, model

CUT = {"message": {"content": None, "reasoning_content": "Hm."}, "finish_reason": "length"}


@pytest.mark.parametrize(
    ("limits", "context", "prompt", "room"),
    [
        ({}, 2048, 10, None),
        ({"max_tokens": 100}, 2048, 10, 400),
        ({"max_completion_tokens": 100}, None, 10, 400),
        ({"max_tokens": 1000}, 2048, 48, 2000),
        ({"max_tokens": 2000}, 2048, 48, None),
        ({"max_tokens": 1900}, 2048, 48, None),
        ({"max_tokens": 100}, 2048, None, 400),
        ({"max_tokens": 100, "routing": {"on_truncation": "accept"}}, 2048, 10, None),
    ],
)
def test_the_room_that_is_left(
    limits: dict[str, Any], context: int | None, prompt: int | None, room: int | None
) -> None:
    expected = Expectation.of(call(**limits), model(context=context), None, set())
    usage = None if prompt is None else Usage(prompt, 0, 100)
    fault = expected.fault(Visible().look([CUT]), usage)
    assert fault is not None
    assert fault.room == room
    assert "only thoughts, and was cut" in fault.message


@pytest.mark.parametrize(
    ("choice", "is_free", "is_empty"),
    [
        (CUT, True, True),
        (CUT, False, True),
        (CUT | {"finish_reason": "stop"}, True, True),
        (CUT | {"finish_reason": "stop"}, False, False),  # its check says more
        ({"message": {"content": "a"}, "finish_reason": "length"}, True, False),
    ],
)
def test_what_is_empty(choice: dict[str, Any], is_free: bool, is_empty: bool) -> None:
    expected = Expectation(call(), model(), is_free, set())
    fault = expected.fault(Visible().look([choice]), None)
    assert (fault is not None) is is_empty


def test_a_blank_completion_is_an_answer() -> None:
    expected = Expectation.of(call(endpoint="completions", prompt="x"), model(), None, set())
    assert expected.fault(Visible().look([{"text": "\n", "finish_reason": "length"}]), None) is None


def test_the_limit_is_raised_where_the_client_set_it() -> None:
    raised = with_token_limit(call(max_completion_tokens=5, max_tokens=7), 20)
    assert (raised.body["max_completion_tokens"], raised.body["max_tokens"]) == (20, 20)
    assert with_token_limit(call(max_tokens=7), 20).body.keys() == call(max_tokens=7).body.keys()
