"""Does a whole answer satisfy its constraint?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.strictjson import NotJson, loads
from router.structured.locate import locate
from router.structured.plan import Constraint, compile_options, pointer
from router.types import Verdict

MAX_MESSAGE = 300


def check(constraint: Constraint, choice: Mapping[str, Any]) -> Verdict:
    """Judge one choice of a whole answer (`message` or `text`, and `finish_reason`), never raising.

    1. Refused, or stopped by a content filter: the client sees that for itself.
    2. Cut at the token limit: `finish_reason` says so.
    3. Tool calls and no content: a call is no answer yet, the format applies to the answer. Valid.
    4. Else the content is one strict JSON value: an object, or what the schema allows.
    """
    message = choice.get("message")
    said: Mapping[str, Any] = message if isinstance(message, Mapping) else {"content": choice.get("text")}
    finish = choice.get("finish_reason")
    if said.get("refusal") or finish == "content_filter":
        return Verdict("refused")
    if finish == "length":
        return Verdict("truncated")
    content = said.get("content")
    if (said.get("tool_calls") or said.get("function_call")) and not content:
        return Verdict("valid")
    if not isinstance(content, str):
        return _invalid("there is no content" if content is None else "the content is not a string")
    return check_text(constraint, content)


def check_text(constraint: Constraint, text: str) -> Verdict:
    """Judge the text of a whole answer, never raising."""
    try:
        value = loads(text, unique_keys=True)
    except NotJson as error:
        return _invalid("there is no content" if not text.strip() else f"not strict JSON: {error}")
    if constraint.validator is None or constraint.schema is None:
        return Verdict("valid") if isinstance(value, dict) else _invalid("the value is not a JSON object")
    try:
        if constraint.validator.is_valid(value):
            return Verdict("valid")
        if constraint.heavy:
            return _invalid("the value does not satisfy the schema")
        path, reason = locate(constraint.schema, value, compile_options())
    except ValueError as error:  # a limit of the validator: what it cannot judge is not served
        return _invalid(f"cannot be judged: {error}")
    return _invalid(reason, pointer(path))


def _invalid(reason: str, path: str = "") -> Verdict:
    text = " ".join(reason.split())
    return Verdict("invalid", text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…", path)
