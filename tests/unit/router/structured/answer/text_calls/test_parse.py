"""What a text means where calls are allowed."""

import pytest

from router.structured.answer.text_calls.parse import is_beginning_of_calls, may_become_calls, parse_text_calls
from router.structured.constraint import CallConstraint, Tool

TOOLS = {"f": Tool("f"), "get_weather": Tool("get_weather")}
AUTO, REQUIRED = CallConstraint(TOOLS), CallConstraint(TOOLS, required=True)
CALL = '{"name": "f", "arguments": {}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        '{"',
        '{"name": "f"',
        '{ "arguments"',
        '{"id": "a", "na',
        "[",
        '[{"na',
        "[f(",
        "[f(a='it's ",
        "<",
        "<tool_ca",
        "<tool_call>",
        "<tool_call>\n<func",
        "<function=f><parameter=a>anything",
        "<TOOL",
        "<|",
        "<|tool_call|>[",
        "func",
        "get_wea",
        'get_weather{"city',
        "``",
        "```",
        "```js",
        "```json\n{",
        "```tool_c",
        "```tool_code\nf(",
        "</thi",
        "</think>\n\n",
        "<think>anything",
        "<think>x</think>\n<tool",
        CALL,
    ],
)
def test_what_may_become_calls(text):
    assert may_become_calls(TOOLS, text)


@pytest.mark.parametrize(
    "text",
    [
        "Hello",
        '{"city"',
        "{1",
        "{is} nice",
        "[1",
        "[x]",
        "[link](x)",
        "[f(1",
        "[see (",
        "<p>",
        "< tool_call>",
        "<tool_call>f",
        "<tool_call><p>",
        "function",
        "get_weather is",
        "other{",
        "```py",
        "```json5",
        "```json\n{1",
        "`x`",
        '{"name": "f"}',
        f"{CALL} is a call",
        "x</think>",
        "<think>x</think>\nHello",
    ],
)
def test_what_cannot_become_calls(text):
    assert not may_become_calls(TOOLS, text)


@pytest.mark.parametrize(
    ("text", "is_beginning"),
    [
        ("", True),
        ('{"name": "f", "argu', True),
        ("<tool_call>\n" + CALL[:-1], True),
        ("<think>Well, ", True),
        ("Well, </think>[f(", True),
        (CALL, False),
        ("Well, ", False),
        ('{"city": "Pa', False),
        ("Well, </think>Paris", False),
    ],
)
def test_whether_calls_were_cut(text, is_beginning):
    assert is_beginning_of_calls(TOOLS, text) == is_beginning


@pytest.mark.parametrize(
    ("content", "reasoning"),
    [
        (CALL, ""),
        (f"\ufeff{CALL}", ""),
        (f"<think>\nWhich one?\n</think>\n\n{CALL}", "Which one?"),
        (f"Which one? {{f}}?\n</think>\n\n{CALL}", "Which one? {f}?"),
        (f"</think>\n{CALL}", ""),
        (f"{CALL} or none?</think><tool_call>{CALL}</tool_call>", f"{CALL} or none?"),
        ('{"name": "f", "arguments": {"a": "</think>"}}', ""),
        ('<think>x</think>{"name": "f", "arguments": {"a": "</think>"}}', "x"),
    ],
)
def test_reasoning_before_calls(content, reasoning):
    parsed = parse_text_calls(AUTO, content)
    assert parsed is not None
    assert parsed.reasoning == reasoning
    assert parsed.fields["tool_calls"][0]["function"]["name"] == "f"


@pytest.mark.parametrize(
    "content",
    [
        f"<think>{CALL}",
        f"<think>{CALL}</think>",
        f"{CALL}</think>",
        f"{CALL}</think>No call is needed.",
        f"I <think> so.</think>{CALL}",
        f"a</think>b</think>{CALL}",
    ],
)
def test_calls_that_are_only_considered(content):
    assert parse_text_calls(AUTO, content) is None


@pytest.mark.parametrize("arguments", ['"x"', '" [] "', "1", "[]", "true"])
def test_arguments_that_are_no_object(arguments):
    content = f'{{"name": "f", "arguments": {arguments}}}'
    assert parse_text_calls(AUTO, content) is None
    assert parse_text_calls(REQUIRED, content) is not None, "the check says what is wrong"


def test_the_older_form_has_one_call():
    legacy = CallConstraint(TOOLS, single=True, legacy=True)
    parsed = parse_text_calls(legacy, CALL)
    assert parsed is not None
    assert parsed.fields == {"function_call": {"name": "f", "arguments": {}}}
    assert parse_text_calls(legacy, f"[{CALL}, {CALL}]") is None
