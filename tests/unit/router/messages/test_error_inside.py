"""Errors in answers whose status is 200."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.messages.error_inside import error_inside, status_of


@pytest.mark.parametrize(
    "answer",
    [
        {"error": {"message": "full"}},
        {"error": "full"},
        [{"error": {"message": "full"}}],
        {"choices": None, "error": {"message": "full"}},
        {"choices": [{"index": 0}], "error": {"message": "full"}},
        {"object": "error", "message": "full", "code": 503},
        {"type": "error", "message": "full"},
        {"code": 503, "message": "full"},
        {"detail": "full"},
        {"detail": [{"msg": "full"}]},
        {"success": False, "errors": [{"code": 1, "message": "full"}]},
        {"msg": "full"},
    ],
)
def test_an_error(answer: Any) -> None:
    assert "full" in str(error_inside(answer))


@pytest.mark.parametrize(
    "answer",
    [
        {}, [], None, 7, "text", [1], [{}], {"choices": []}, {"choices": None}, {"error": None}, {"error": {}},
        {"choices": [{"index": 0}], "message": "a note"}, {"choices": [], "usage": {"prompt_tokens": 1}, "detail": "x"},
        {"id": "x", "choices": [], "prompt_filter_results": []},
    ],
)  # fmt: skip
def test_no_error(answer: Any) -> None:
    assert error_inside(answer) is None


def test_a_status_beside_the_text() -> None:
    assert status_of(error_inside({"error": "busy", "status": 503})) == 503


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 400}, 400),
        ({"code": 429}, 429),
        ({"code": 599}, 599),
        ({"code": "429"}, 429),
        ({"code": 399}, 500),
        ({"code": 600}, 500),
        ({"code": True}, 500),
        ({"code": 1, "status": 503}, 503),
        ({"code": "rate_limit_exceeded"}, 429),
        ({"type": "rate_limit_error"}, 429),
        ({"code": "RateLimitReached"}, 429),
        ({"status": "RESOURCE_EXHAUSTED"}, 429),
        ({"code": "insufficient_quota"}, 402),
        ({"code": "insufficient_quota", "type": "rate_limit_error"}, 402),
        ({"type": "billing_error"}, 402),
        ({"code": "invalid_api_key"}, 401),
        ({"type": "authentication_error"}, 401),
        ({"type": "AuthenticationError"}, 401),
        ({"type": "permission_error"}, 403),
        ({"type": "overloaded_error"}, 503),
        ({"status": "UNAVAILABLE"}, 503),
        ({"code": "request_timeout"}, 504),
        ({"code": "model_not_found"}, 404),
        ({"code": "context_length_exceeded"}, 400),
        ({"type": "BadRequestError"}, 400),
        ({"type": "invalid_request_error"}, 400),
        ({"type": "InternalServerError"}, 500),
        ({"type": "server_error", "code": None}, 500),
        ({}, 500),
        ("overloaded", 503),
        ("Rate limit reached for requests", 429),
        ({"code": 1302, "message": "Rate limit reached"}, 429),
        ({"message": "KeyError: not found"}, 500),
        (None, 500),
    ],
)
def test_the_status_that_an_error_stands_for(error: object, status: int) -> None:
    assert status_of(error) == status


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "code", "message", "choices", "status", "type"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(JSON)
def test_an_upstream_may_send_anything(answer: object) -> None:
    assert 400 <= status_of(error_inside(answer)) < 600
