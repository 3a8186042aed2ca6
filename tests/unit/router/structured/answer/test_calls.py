"""Tool calls of an answer: checked, repaired, and found in text."""

import re

import pytest

from router.types import Verdict
from tests.support.answers import (
    AUTO,
    EITHER,
    LEGACY,
    PARIS,
    REQUIRED,
    SINGLE,
    WRITTEN,
    both,
    call,
    called,
    judged,
    said,
)


@pytest.mark.parametrize(
    ("constraint", "choice", "path", "message"),
    [
        (AUTO, called(call("{}")), "/tool_calls/0/function/arguments", "required"),
        (
            AUTO,
            called(call(PARIS), call('{"city": 3}', id="b")),
            "/tool_calls/1/function/arguments/city",
            'not of type "string"',
        ),
        (
            AUTO,
            called(call(PARIS, "fly")),
            "/tool_calls/0/function/name",
            "'fly' is not one of the functions: 'weather'",
        ),
        (AUTO, called(call(PARIS, None)), "/tool_calls/0/function/name", "not one of the functions"),
        (AUTO, called(call(PARIS[:-1])), "/tool_calls/0/function/arguments", "not strict JSON"),
        (AUTO, called(call('{"city": "a", "city": "b"}')), "/tool_calls/0/function/arguments", "twice"),
        (AUTO, called(call("[]", "any")), "/tool_calls/0/function/arguments", "not a JSON object"),
        (AUTO, called(call('"{}"', "any")), "/tool_calls/0/function/arguments", "not a JSON object"),
        (AUTO, called(call(None)), "/tool_calls/0/function/arguments", "required"),
        (AUTO, called(call(["Paris"])), "/tool_calls/0/function/arguments", "not a JSON object"),
        (AUTO, called(call({"city": float("inf")})), "/tool_calls/0/function/arguments", "JSON cannot represent"),
        (AUTO, called(call({"city": "a", "days": 10**400})), "/tool_calls/0/function/arguments", "too large"),
        (AUTO, called({"id": "a", "type": "function"}), "/tool_calls/0/function", "object"),
        (AUTO, called("weather"), "/tool_calls/0", "object"),
        (AUTO, called(call(PARIS) | {"type": "custom"}), "/tool_calls/0/type", "function"),
        (AUTO, said(None, tool_calls={"a": 1}), "/tool_calls", "array"),
        (AUTO, said(None, function_call={"name": "weather", "arguments": PARIS}), "/function_call", "'tool_calls'"),
        (LEGACY, called(call(PARIS)), "/tool_calls", "'function_call'"),
        (
            LEGACY,
            said(None, function_call={"name": "weather", "arguments": "{}"}),
            "/function_call/arguments",
            "required",
        ),
        (SINGLE, called(call(PARIS), call(PARIS, id="b")), "/tool_calls/1", "at most one"),
        (REQUIRED, said("It is fine."), "", "no function is called"),
        (REQUIRED, said(None), "", "no function is called"),
        (REQUIRED, said('{"name": "fly", "arguments": {}}'), "/tool_calls/0/function/name", "'fly'"),
        (AUTO, said('{"name": "weather", "arguments": {"town": "Paris"}}'), "/tool_calls/0/function/arguments", "city"),
    ],
)
def test_an_invalid_call_says_where_and_why(constraint, choice, path, message):
    verdict = judged(constraint, choice)
    assert (verdict.word, verdict.path, verdict.kind) == ("invalid", path, "tools")
    assert message in verdict.message


@pytest.mark.parametrize(
    ("made", "arguments"),
    [
        (call({"city": "Zoë", "days": 12345678901234567890}), '{"city":"Zoë","days":12345678901234567890}'),
        (call({"x": 0.1}, "any"), '{"x":0.1}'),
        (call(None, "now"), "{}"),
        (call("", "any"), "{}"),
        (call(" \n", "now"), "{}"),
        (call(f"```json\n{PARIS}\n```"), PARIS),
        (call('{"city": "Paris",}'), PARIS),
        ({"function": {"name": "weather", "arguments": PARIS}}, PARIS),
        (call(PARIS, id=None), PARIS),
        (call(PARIS, id=""), PARIS),
        (call(PARIS, id=7), PARIS),
        (call(PARIS, index=0) | {"type": None}, PARIS),
    ],
)
def test_a_call_is_made_good_where_that_is_safe(made, arguments):
    verdict, may_leave = both(AUTO, called(made, content="Well."))
    assert verdict == Verdict("repaired", kind="tools")
    (whole,) = may_leave["message"]["tool_calls"]
    assert whole["type"] == "function"
    assert whole["function"]["arguments"] == arguments
    assert whole["id"] == "a" or re.fullmatch("call_[0-9a-f]{24}", whole["id"])
    assert may_leave["message"]["content"] == "Well."
    assert may_leave["finish_reason"] == "tool_calls"


def test_of_calls_with_one_id_the_first_keeps_it():
    _, may_leave = both(AUTO, called(call(PARIS), call(PARIS), call(PARIS, id="b")))
    first, second, third = (made["id"] for made in may_leave["message"]["tool_calls"])
    assert (first, third) == ("a", "b")
    assert second.startswith("call_")


@pytest.mark.parametrize(
    "content",
    [
        WRITTEN,
        WRITTEN.replace("arguments", "parameters"),
        f"```json\n{WRITTEN}\n```",
        f" [{WRITTEN}] ",
        f"<tool_call>\n{WRITTEN}\n</tool_call>",
        f"<think>{{}}</think>\n\n<tool_call>{WRITTEN}</tool_call>\n",
        '{"type": "function", "name": "weather", "parameters": {"city": "Paris"}}',
        f'{{"type": "function", "id": "x", "function": {WRITTEN}}}',
        '{"name": "weather", "arguments": "{\\"city\\":\\"Paris\\"}"}',
    ],
)
@pytest.mark.parametrize("constraint", [AUTO, REQUIRED, SINGLE, LEGACY, EITHER])
def test_a_call_written_as_text_becomes_a_call(constraint, content):
    verdict, may_leave = both(constraint, said(content))
    assert verdict == Verdict("repaired", kind="tools")
    message = may_leave["message"]
    assert message["content"] is None
    assert message.get("reasoning_content") == ("{}" if "think" in content else None)
    if constraint is LEGACY:
        function = message["function_call"]
    else:
        (made,) = message["tool_calls"]
        assert re.fullmatch("call_[0-9a-f]{24}", made["id"])
        assert made["type"] == "function"
        function = made["function"]
    assert function == {"name": "weather", "arguments": '{"city":"Paris"}'}
    assert may_leave["finish_reason"] == ("function_call" if constraint is LEGACY else "tool_calls")


@pytest.mark.parametrize("content", [f"[{WRITTEN}, {WRITTEN}]", f"<tool_call>{WRITTEN}</tool_call>" * 2])
def test_several_calls_may_be_written(content):
    _, may_leave = both(AUTO, said(content))
    assert len({made["id"] for made in may_leave["message"]["tool_calls"]}) == 2
    assert judged(SINGLE, content).word == "invalid"
