"""The judge that shares no code with the gateway, the reading of answers, and the rules for right calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.structured.bfcl import is_right
from benchmarks.structured.data import ToolTask
from benchmarks.structured.judge import NotStrict, fault_of, fault_of_text, strict
from benchmarks.structured.reply import NotUnderstood, Reply, broken_promises_of, read

SCHEMA = {"type": "object", "properties": {"at": {"type": "string", "format": "date"}}, "required": ["at"]}
ASKED = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}
TOOLS = [{"type": "function", "function": {"name": "at", "parameters": SCHEMA}}]


def said(content: object, finish: str = "stop", **message: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}


def called(*calls: tuple[str, str, str]) -> dict[str, Any]:
    made = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
    return said(None, "tool_calls", tool_calls=made)


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', '[{"a": {"b": 1, "b": 2}}]', "NaN", "[-Infinity]", "1e999", "9" * 400, '"\\ud800"', "{", "",
     '"a\nb"', "\ufeff{}", "[" * 100_000],
)  # fmt: skip
def test_what_is_not_strict(text: str) -> None:
    with pytest.raises(NotStrict):
        strict(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"at": "2026-01-31"}', ""),
        ('{"at": "2026-02-31"}', "breaks the schema"),
        ("{}", "breaks the schema"),
        ('```json\n{"at": "2026-01-31"}\n```', "not strict JSON"),
        (None, "no text"),
    ],
)
def test_a_text_against_a_schema(text: object, fault: str) -> None:
    assert fault in fault_of_text(text, SCHEMA)
    assert bool(fault_of_text(text, SCHEMA)) == bool(fault)


@pytest.mark.parametrize(
    ("asked", "choice", "fault"),
    [
        (ASKED, said("{}"), "schema"),
        (ASKED, said("{", "length"), ""),
        (ASKED, said(None, refusal="no"), ""),
        ({"response_format": {"type": "json_object"}}, said("[]"), "no JSON object"),
        ({"structured_outputs": {"choice": ["a"]}}, said("a"), ""),
        ({"structured_outputs": {"choice": ["a"]}}, said("a."), "choices"),
        ({"tools": TOOLS}, said("just words"), ""),
        ({"tools": TOOLS}, said(""), "empty"),
        ({"tools": TOOLS, "tool_choice": "required"}, said("just words"), "no call"),
        ({"tools": TOOLS}, called(("1", "at", '{"at": "2026-01-31"}')), ""),
        ({"tools": TOOLS}, called(("1", "at", "{}")), "arguments of at"),
        ({"tools": TOOLS}, called(("1", "of", "{}")), "'of'"),
        ({"tools": TOOLS}, called(*[("1", "at", '{"at": "2026-01-31"}')] * 2), "ids"),
        ({"tools": TOOLS, "parallel_tool_calls": False}, called(("1", "at", "{}"), ("2", "at", "{}")), "2 calls"),
    ],
)
def test_a_choice_against_what_was_asked(asked: dict[str, Any], choice: dict[str, Any], fault: str) -> None:
    assert fault in fault_of(asked, choice)
    assert bool(fault_of(asked, choice)) == bool(fault)


def sse(*events: object) -> bytes:
    return b"".join(b"data: " + (e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n\n" for e in events)


def piece(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


STREAM = {"content-type": "text/event-stream; charset=utf-8", "X-Smallfirst-Structured": "repaired"}


def test_a_stream_is_put_together() -> None:
    call = {"index": 0, "id": "a", "type": "function", "function": {"name": "at", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": '{"at": '}}
    rest = {"index": 0, "function": {"arguments": '"2026-01-31"}'}}
    events = [piece(role="assistant", content="Now")] + [piece(tool_calls=[one]) for one in (call, more, rest)]
    reply = read(200, STREAM, b": comment\n\n" + sse(*events, piece("tool_calls"), {"choices": []}, b"[DONE]"))
    assert reply.metadata == {"structured": "repaired"}
    assert reply.choice == called(("a", "at", '{"at": "2026-01-31"}')) | {
        "message": {
            "role": "assistant",
            "content": "Now",
            "tool_calls": called(("a", "at", '{"at": "2026-01-31"}'))["message"]["tool_calls"],
        }
    }
    assert reply.outcome({"tools": TOOLS}) == "valid"


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (read(502, {}, b'{"error": {"message": "m", "type": "server_error", "code": "bad"}}'), "error 502 bad"),
        (read(200, STREAM, sse(piece(content="{"), {"error": {"type": "t", "code": None}})), "error 200 t"),
        (read(200, STREAM, sse(piece(content="{"), piece("length"), b"[DONE]")), "truncated"),
        (read(200, STREAM, sse(piece(content="{"), piece("stop"), b"[DONE]")), "invalid"),
        (read(200, STREAM, sse(piece(refusal="no"), piece("stop"), b"[DONE]")), "refused"),
        (Reply(0, error="connection_lost"), "error 0 connection_lost"),
    ],
)
def test_what_became_of_a_request(reply: Reply, outcome: str) -> None:
    assert reply.outcome(ASKED) == outcome


@pytest.mark.parametrize(
    ("headers", "body"),
    [(STREAM, sse(piece(content="{"))), ({}, b"<html>"), ({}, b"{}"), ({}, b'{"choices": []}'), ({}, b"[]")],
)
def test_what_nobody_understands(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        read(200, headers, body)


def task(truth: list[dict[str, Any]] | None, *, expect_call: bool = True) -> ToolTask:
    return ToolTask("1", "simple", [], [], {"a_b": "a.b"}, truth, expect_call, True)


ONE = task([{"a.b": {"city": ["New York", "NYC"], "days": ["", 3], "at": [{"x": [1], "y": ["", 2]}]}}])
TWO = task([{"f": {"x": [1, 2]}}, {"f": {"x": [1]}}])


@pytest.mark.parametrize(
    ("wanted", "calls", "expected"),
    [
        (ONE, [("a_b", '{"city": "new-york", "at": {"x": 1}}')], True),
        (ONE, [("a_b", '{"city": "NYC", "days": 3.0, "at": {"x": 1, "y": 2}}')], True),
        (ONE, [("a_b", '{"city": "NYC", "days": 4, "at": {"x": 1}}')], False),
        (ONE, [("a_b", '{"city": "NYC", "at": {"x": 1}, "more": 1}')], False),
        (ONE, [("a_b", '{"at": {"x": 1}}')], False),
        (ONE, [("a_b", '{"city": "NYC", "at": {"x": true}}')], False),
        (ONE, [("ab", '{"city": "NYC", "at": {"x": 1}}')], False),
        (ONE, [("a_b", "{")], False),
        (ONE, [], False),
        (TWO, [("f", '{"x": 1}'), ("f", '{"x": 2}')], True),
        (TWO, [("f", '{"x": 2}'), ("f", '{"x": 1}')], True),
        (TWO, [("f", '{"x": 2}'), ("f", '{"x": 2}')], False),
        (TWO, [("f", '{"x": 1}')], False),
        (task([{"f": {"x": [["a", "b"]]}}]), [("f", '{"x": ["A", "b."]}')], True),
        (task([{"f": {"x": [["a", "b"]]}}]), [("f", '{"x": ["b", "a"]}')], False),
        (task(None), [("f", "{}")], True),
        (task(None), [], False),
        (task(None, expect_call=False), [], True),
        (task(None, expect_call=False), [("f", "{}")], False),
    ],
)
def test_which_calls_are_right(wanted: ToolTask, calls: list[tuple[str, str]], expected: bool) -> None:
    assert is_right(wanted, [{"function": {"name": name, "arguments": text}} for name, text in calls]) is expected


def test_which_promises_are_broken() -> None:
    ways = {"a": {"outcomes": {"valid": 3, "error 502 bad": 1}}, "b": {"outcomes": {"invalid": 2, "error 0 x": 1}}}
    assert list(broken_promises_of("model", ways)) == [
        "model: b: 2 invalid answers came with status 200",
        "model: b: 1 requests got no answer that could be understood",
    ]
