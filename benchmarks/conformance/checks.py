"""Checks that schemathesis runs beside its own; its process loads this file, which is no part of the gateway.

Each takes the place of, or adds to, a check that cannot know what a request asks for. What is let pass is written to
the file that CONFORMANCE_LOG names, and counted in the report.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import schemathesis

BRIEF_MS = 60_000
"""a shorter `routing.deadline_ms` may pass before the answer"""
WITH_RULES = frozenset(
    {
        "best_of", "echo", "function_call", "functions", "guided_choice", "guided_grammar", "guided_json",
        "guided_regex", "messages", "prompt", "response_format", "routing", "structured_outputs", "tool_choice",
        "tools",
    }
)  # fmt: skip
"""fields with rules that the schema does not say: between fields, or in a language of their own"""


@schemathesis.check
def no_server_error(ctx: Any, response: Any, case: Any) -> None:
    """Allow a 5xx only where the request itself asks for it: by a deadline, a confidence, or a format beside calls."""
    if response.status_code < 500:
        return
    error = _error(response)
    asked = case.body if isinstance(case.body, dict) else {}
    routing = _routing(asked)
    deadline = routing.get("deadline_ms")
    if error["code"] == "deadline_exceeded" and isinstance(deadline, int) and deadline < BRIEF_MS:
        _let_pass("the request's own deadline passed", case, error)
    elif error["code"] == "confidence_too_low" and routing.get("min_confidence"):
        _let_pass("below the confidence that the request demands", case, error)
    elif error["code"] == "structured_output_violation" and (asked.get("tools") or asked.get("functions")):
        _let_pass("a format beside calls, which is asked for in words only", case, error)
    else:
        raise AssertionError(f"server error {response.status_code}: {response.text[:500]}")


@schemathesis.check
def error_in_shape(ctx: Any, response: Any, case: Any) -> None:
    """Every error is `{"error": {message, type, param, code}}` as JSON."""
    if response.status_code >= 400 and case.path != "/ready":
        _error(response)


@schemathesis.check
def valid_data_is_refused_by_a_rule_only(ctx: Any, response: Any, case: Any) -> None:
    """A 400 for data that the schema allows names a field, and it is one with rules beyond the schema."""
    mode = case.meta.generation.mode.value if case.meta else ""
    if mode != "positive" or response.status_code not in (400, 422) or case.method != "POST":
        return
    error = _error(response)
    if error["code"] == "invalid_type" and error["message"].endswith("but got a decimal number instead."):
        _let_pass("an integer was written with a fraction", case, error)
        return
    field = str(error["param"]).partition(".")[0].partition("[")[0]
    if field not in WITH_RULES:
        raise AssertionError(f"refused although the schema allows it: {response.text[:500]}")
    _let_pass(f"refused by a rule of `{field}`", case, error)


@schemathesis.check
def stream_in_shape(ctx: Any, response: Any, case: Any) -> None:
    """Every event of a stream is an object with choices or an error; `[DONE]` ends it unless an error does."""
    if not response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        return
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    assert events, "a stream without events"
    *others, last = events
    for event in others:  # schemathesis reads the first twenty
        assert isinstance(json.loads(event).get("choices"), list), f"an event without choices: {event[:200]}"
    if last != "[DONE]" and not response.stream_cut_short:
        _check_shape(json.loads(last))


def _routing(asked: dict[str, Any]) -> dict[str, Any]:
    routing = asked.get("routing")
    return routing if isinstance(routing, dict) else {}


def _error(response: Any) -> dict[str, Any]:
    kind = response.headers.get("content-type", [""])[0]
    assert kind == "application/json", f"an error as {kind!r}: {response.text[:500]}"
    return _check_shape(response.json())


def _check_shape(body: Any) -> dict[str, Any]:
    error = body["error"] if isinstance(body, dict) and list(body) == ["error"] else {}
    assert {"message", "type", "param", "code"} <= error.keys(), f"not an error in shape: {body!r:.500}"
    for name in ("message", "type"):
        assert isinstance(error[name], str), f"{name} is no text: {error!r:.500}"
    for name in ("param", "code"):
        assert error[name] is None or isinstance(error[name], str), f"{name} is no text: {error!r:.500}"
    return error


def _let_pass(why: str, case: Any, error: dict[str, Any]) -> None:
    entry = {"why": why, "operation": f"{case.method} {case.path}", "message": error["message"]}
    with Path(os.environ["CONFORMANCE_LOG"]).open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")
