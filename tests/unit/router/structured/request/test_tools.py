"""The calls that a request's fields allow or require; nothing is compiled."""

import pytest

from router.structured.request.tools import CALL_FIELDS, requested_tools
from tests.support.asked_formats import SCHEMA, refused, tool


def names(calls):
    return [one.name for one in calls.tools]


@pytest.mark.parametrize(
    "body",
    [
        {},
        dict.fromkeys(CALL_FIELDS),
        {"tools": [], "tool_choice": "auto"},
        {"tools": [tool("f")], "tool_choice": "none"},
        {"tool_choice": "none", "parallel_tool_calls": False},
        {"functions": []},
        {"functions": [{"name": "f"}], "function_call": "none"},
    ],
)
def test_no_calls_are_asked_for(body):
    assert requested_tools(body) is None


def allowed(mode, *chosen):
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [tool(name) for name in chosen]}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (["f", "g"], False, False)),
        ({"tool_choice": "auto", "parallel_tool_calls": True}, (["f", "g"], False, False)),
        ({"tool_choice": "auto", "parallel_tool_calls": False}, (["f", "g"], False, True)),
        ({"tool_choice": "required"}, (["f", "g"], True, False)),
        ({"tool_choice": {"type": "function", "function": {"name": "g"}}}, (["g"], True, False)),
        ({"tool_choice": allowed("auto", "g")}, (["g"], False, False)),
        ({"tool_choice": allowed("required", "g", "f", "g")}, None),
        ({"tool_choice": allowed("required", "g", "f")}, (["g", "f"], True, False)),
    ],
)
def test_tools(fields, expected):
    body = {"tools": [tool("f"), tool("g")], **fields}
    if expected is None:
        refused(requested_tools, body, "tool_choice.allowed_tools.tools")
        return
    calls = requested_tools(body)
    assert (names(calls), calls.required, calls.single, calls.legacy) == (*expected, False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (["f", "g"], False)),
        ({"function_call": "auto", "parallel_tool_calls": True}, (["f", "g"], False)),
        ({"function_call": {"name": "g"}}, (["g"], True)),
    ],
)
def test_functions_allow_one_call(fields, expected):
    calls = requested_tools({"functions": [{"name": "f"}, {"name": "g"}], **fields})
    assert (names(calls), calls.required, calls.single, calls.legacy) == (*expected, True, True)


def test_a_tool_keeps_its_parameters_and_where_they_stand():
    one, two, three = requested_tools(
        {"tools": [tool("f", parameters={}), tool("g", parameters=SCHEMA, strict=True), tool("h", parameters=None)]}
    ).tools
    assert (one.parameters, one.strict, three.parameters) == (None, False, None)
    assert (two.parameters, two.strict, two.param) == (SCHEMA, True, "tools[1].function.parameters")
    (legacy,) = requested_tools({"functions": [{"name": "f", "parameters": SCHEMA}]}).tools
    assert (legacy.parameters, legacy.param) == (SCHEMA, "functions[0].parameters")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [tool("f")], "functions": [{"name": "f"}]}, "functions"),
        ({"tools": {"a": 1}}, "tools"),
        ({"tools": [3]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [tool("f"), tool("f")]}, "tools[1].function.name"),
        ({"tools": [tool("")]}, "tools[0].function.name"),
        ({"tools": [tool(3)]}, "tools[0].function.name"),
        ({"functions": [{"name": "f"}, {"name": "f"}]}, "functions[1].name"),
        ({"functions": ["f"]}, "functions[0]"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [tool("f")], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [tool("f")], "tool_choice": ["auto"]}, "tool_choice"),
        ({"tools": [tool("f")], "tool_choice": {"type": "custom"}}, "tool_choice.type"),
        ({"tools": [tool("f")], "tool_choice": {}}, "tool_choice.type"),
        ({"tools": [tool("f")], "tool_choice": {"type": "function"}}, "tool_choice.function.name"),
        ({"tools": [tool("f")], "tool_choice": tool("g")}, "tool_choice.function.name"),
        ({"tool_choice": tool("g")}, "tool_choice.function.name"),
        ({"tool_choice": allowed("auto", "f")}, "tool_choice"),
        ({"tools": [tool("f")], "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        ({"tools": [tool("f")], "tool_choice": allowed("any", "f")}, "tool_choice.allowed_tools.mode"),
        ({"tools": [tool("f")], "tool_choice": allowed([], "f")}, "tool_choice.allowed_tools.mode"),
        ({"tools": [tool("f")], "tool_choice": allowed("auto")}, "tool_choice.allowed_tools.tools"),
        (
            {"tools": [tool("f")], "tool_choice": allowed("auto", "g")},
            "tool_choice.allowed_tools.tools[0].function.name",
        ),
        ({"functions": [{"name": "f"}], "function_call": "any"}, "function_call"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call.name"),
        ({"functions": [{"name": "f"}], "function_call": {}}, "function_call.name"),
        ({"tools": [tool("f")], "function_call": {"name": "f"}}, "function_call.name"),
    ],
)
def test_calls_that_cannot_be_are_refused(body, param):
    refused(requested_tools, body, param)
