"""An error inside an answer whose status is 200: found, and brought to a status. Pure.

OpenAI's API says errors by the status. Gateways and servers in front of a model often have sent 200 when the model
fails, and say the error in the body, in a choice, or in an event of the stream, each in its own form.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

DEFAULT_STATUS = 500
_STATUS_FIELDS = ("code", "status", "status_code", "http_code", "type", "error_type", "reason")
"""fields that say what kind of error it is, the most exact one first"""
_WORDS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (402, ("insufficient_quota", "insufficient_balance", "insufficient_credit", "payment_required", "billing")),
    (429, ("rate_limit", "ratelimit", "too_many_requests", "resource_exhausted", "throttl", "quota_exceeded")),
    (401, ("invalid_api_key", "authentication", "unauthenticated", "unauthorized", "invalid_key")),
    (403, ("permission", "forbidden", "access_denied")),
    (503, ("overload", "unavailable", "capacity", "no_healthy", "busy")),
    (504, ("timeout", "timed_out", "deadline_exceeded")),
    (404, ("not_found",)),
    (
        400,
        (
            "context_length_exceeded",
            "exceed_context_size",
            "invalid_request",
            "invalid_argument",
            "bad_request",
            "badrequest",
            "unsupported",
        ),
    ),
)
_OF_MESSAGES = (402, 429, 503)
"""what a message says of itself: the other words occur in messages about anything"""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


class ErrorInside(Exception):
    """An answer with status 200 is an error. `error` is its error object, or a text."""

    def __init__(self, error: object) -> None:
        super().__init__("the upstream answered 200 with an error inside")
        self.error = error


def error_inside(answer: object) -> object | None:
    """Return the error of a whole answer or of an event, or None if it is none.

    1. It has an `error`, or `errors`; some servers wrap it in a list.
    2. It has no choices, and is an error itself: it says so (`object`, `type`), or has a `message` or a `detail`.
    """
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, Mapping):
        return None
    if error := answer.get("error"):
        return _with_code_beside(error, answer)
    if isinstance(errors := answer.get("errors"), list) and errors and not answer.get("choices"):
        return errors[0] or {}
    if answer.get("choices") or answer.get("usage"):
        return None
    is_error = answer.get("object") == "error" or answer.get("type") == "error"
    if not is_error and not any(answer.get(field) for field in ("message", "detail", "msg")):
        return None
    text = next((answer[field] for field in ("message", "detail", "msg") if answer.get(field)), "")
    return {**answer, "message": text if isinstance(text, str) else str(text)}


def status_of(error: object) -> int:
    """Return the HTTP status that an error stands for: by its number, else by its words; 500 if it has neither."""
    if not isinstance(error, Mapping):
        error = {"message": error}
    values = [error.get(field) for field in _STATUS_FIELDS]
    by_message = (status for status in _by_words([error.get("message")]) if status in _OF_MESSAGES)
    found = itertools.chain(_numbers(values), _by_words(values), by_message)
    return next(found, DEFAULT_STATUS)


def _with_code_beside(error: object, answer: Mapping[str, Any]) -> object:
    """Return the error with a status that stands beside it, as in `{"error": "busy", "status": 503}`."""
    beside = {name: answer[name] for name in ("code", "status", "status_code") if answer.get(name) is not None}
    if not beside or isinstance(error, Mapping):
        return error
    return {"message": error if isinstance(error, str) else str(error), **beside}


def _numbers(values: list[Any]) -> Iterator[int]:
    for value in values:
        number = int(value) if isinstance(value, str) and re.fullmatch("[45][0-9]{2}", value) else value
        if type(number) is int and 400 <= number < 600:
            yield number


def _by_words(values: list[Any]) -> Iterator[int]:
    for value in values:
        if isinstance(value, str):
            word = _CAMEL.sub("_", value).casefold().replace("-", "_").replace(" ", "_")
            yield from (status for status, parts in _WORDS if any(part in word for part in parts))
