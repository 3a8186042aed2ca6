"""Every format, as the model families write it: read exactly, and never anything else."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.answer.text_calls.formats import FORMATS, read_calls
from router.structured.answer.text_calls.parse import is_beginning_of_calls, may_become_calls, parse_text_calls
from router.structured.answer.text_calls.scanner import MAX_CALLS, NotCalls, Scanner, Unfinished
from router.structured.constraint import CallConstraint, Tool
from tests.support.answers import schema_of
from tests.support.written_calls import BAR, WRITERS

PARAMETERS = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "is_on": {"type": "boolean"},
        "nothing": {"type": "null"},
        "items": {"type": "array"},
        "options": {"type": "object"},
    },
}
TOOLS = {name: Tool(name, schema_of(PARAMETERS)) for name in ("do_it", "get-weather.v2", "f")} | {"any": Tool("any")}
CALLS = CallConstraint(TOOLS)
CALLS_BEGIN, CALLS_END = (f"<{BAR}tool▁calls▁{word}{BAR}>" for word in ("begin", "end"))
# what would end, begin or confuse a format if it stood outside a string
SPECIAL = [
    *"\"'\\`{}[](),:;=<>\n\t ", "'''", '"""', "```", "\\n", "\\u0041",
    "<tool_call>", "</tool_call>", "<parameter=x>", "</parameter>", "</function>", "</TOOLCALL>",
    "<|/tool_call|>", "<|tool_call_end|>", "<tool_call|>", "<end_function_call>", "[TOOL_CALLS]", "[ARGS]",
    f"<{BAR}tool▁call▁end{BAR}>", "<think>", "</think>",
    "null", "true", "None", "5", "1e5", "it's", '{"a": 1}', "漢字", "🎉", "\u2028", "\x00", "e\u0301",
]  # fmt: skip
STRINGS = st.lists(st.sampled_from(SPECIAL) | st.text(max_size=3), max_size=4).map("".join)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


def values(keys, scalars):
    return st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
    )


def made(strings, keys):
    nested = values(keys, SCALARS | strings)
    arguments = st.fixed_dictionaries(
        {},
        optional={
            "text": strings,
            "count": st.integers(),
            "ratio": st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
            "is_on": st.booleans(),
            "nothing": st.none(),
            "items": st.lists(nested, max_size=3),
            "options": st.dictionaries(keys, nested, max_size=3),
        },
    )
    return st.lists(st.tuples(st.sampled_from(["do_it", "get-weather.v2", "f"]), arguments), min_size=1, max_size=3)


WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
# what a format cannot express: a string that contains its own quote, or the tags that follow a parameter
ANY = made(STRINGS, STRINGS)
FOR = {
    "FunctionGemma": made(STRINGS.filter(lambda text: "<escape>" not in text), WORDS),
    "Gemma 4": made(STRINGS.filter(lambda text: '<|"|>' not in text), WORDS),
    "function tags": made(STRINGS.filter(lambda text: not re.search("</parameter>\\s*</?[pf]", text)), STRINGS),
}


@st.composite
def written(draw, writers=WRITERS):
    writer = draw(st.sampled_from(writers))
    calls = draw(FOR.get(writer.format, ANY))
    return calls, writer.write(calls)


def found(constraint, text):
    parsed = parse_text_calls(constraint, text)
    if parsed is None:
        return None
    return [(call["function"]["name"], call["function"]["arguments"]) for call in parsed.fields["tool_calls"]]


def test_every_format_is_written_in_these_tests():
    assert {writer.format for writer in WRITERS} == {call_format.name for call_format in FORMATS}


@pytest.mark.parametrize("writer", WRITERS, ids=str)
@given(data=st.data())
def test_calls_are_read_as_they_were_written(writer, data):
    calls = data.draw(FOR.get(writer.format, ANY))
    text = writer.write(calls)
    again = found(
        CALLS, data.draw(st.sampled_from(["", "\n", " \u2028"])) + text + data.draw(st.sampled_from(["", "\n\n"]))
    )
    assert json.dumps(again) == json.dumps(calls)
    read = dict(FORMATS)[writer.format](Scanner(text), TOOLS)
    assert json.dumps(read) == json.dumps(calls), "not only by another format"


@given(written())
def test_a_reader_cannot_exclude_calls_before_their_end(one):
    _, text = one
    for end in range(len(text)):
        assert may_become_calls(TOOLS, text[:end]), text[:end]


@given(written(), st.data())
def test_a_cut_or_damaged_call_is_never_an_error(one, data):
    _, text = one
    for _ in range(data.draw(st.integers(1, 3))):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        text = text[:start] + data.draw(st.sampled_from(SPECIAL) | st.text(max_size=3)) + text[end:]
    for constraint in (CALLS, CallConstraint(TOOLS, required=True), CallConstraint(TOOLS, legacy=True)):
        parse_text_calls(constraint, text)
    may_become_calls(TOOLS, text)
    is_beginning_of_calls(TOOLS, text)


@given(written(), st.sampled_from(["Sure: ", "I call it.\n\n", "Example:\n```python\n", "> "]))
def test_words_beside_calls_make_them_text(one, words):
    _, text = one
    assert found(CALLS, words + text) is None
    assert found(CALLS, f"{text}\n{words}") is None


@given(written())
def test_calls_of_other_functions_stay_text(one):
    _, text = one
    others = {f"other_{name}": tool for name, tool in TOOLS.items()}
    assert found(CallConstraint(others), text) is None


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_one_unknown_function_among_several_makes_them_text(writer):
    text = writer.write([("f", {"count": 1}), ("g", {})])
    assert found(CALLS, text) is None
    required = found(CallConstraint(TOOLS, required=True), text)
    assert required == (None if writer.format == "name and JSON" else [("f", {"count": 1}), ("g", {})])


@pytest.mark.parametrize(
    "text",
    [
        "f",
        "f is called.",
        "f(count=1)",
        "[f]",
        "[f(1)]",
        "[f(count=1, count=2)]",
        "[f(count=x)]",
        "[f(count=1)",
        "[f(count=1)] is how to call it",
        "[f(count=-)]",
        "[f(text='a)]",
        "[f(text='\\U00110000')]",
        "[f(items=" + "[" * 300 + "]" * 300 + ")]",
        "[f](https://example.com)",
        "```python\n[f(count=1)]\n```",
        "```tool_code\nprint(f(count=1))\n```",
        "```tool_code\n```",
        "```json\n[]\n```",
        "f {count: 1}",
        'f{"count": 1} and more',
        'g{"count": 1}',
        '{"name": "f"}',
        '{"name": "f", "arguments": 1}',
        '{"name": "f", "arguments": [1]}',
        '{"name": "f", "arguments": "count"}',
        '{"name": "f", "arguments": {}, "more": 1}',
        '{"name": "f", "name": "f", "arguments": {}}',
        '{"name": "f", "arguments": {"count": NaN}}',
        '{"name": ["f"], "arguments": {}}',
        '{"type": "tool", "name": "f", "arguments": {}}',
        '[{"name": "f", "arguments": {}}, 1]',
        '{"name": "f", "arguments": {}}, {"name": "f", "arguments": {}}',
        "<tool_call>[]</tool_call>",
        "<tool_call></tool_call>",
        '<tool_call>{"name": "f", "arguments": {}}</tool_call>?',
        '<tool_call>{"name": "f", "arguments": {}}<tool_call>',
        "<function=f>count is 1</function>",
        "<function=f><parameter=count>1</parameter>",
        "<function=f><parameter=count>1</parameter><parameter=count>2</parameter></function>",
        '<function=f>{"count": 1}',
        "<TOOLCALL>f()</TOOLCALL>",
        "<|tool_call>call:f{count:1 2}<tool_call|>",
        "<|tool_call>call:f{count:1,count:2}<tool_call|>",
        "<|tool_call>call:f{items:" + "[" * 300 + "]" * 300 + "}<tool_call|>",
        "<start_function_call>f(count=1)<end_function_call>",
        "[TOOL_CALLS]",
        "[TOOL_CALLS]f",
        '[TOOL_CALLS][{"name": "f"}]',
        CALLS_BEGIN + CALLS_END,
        CALLS_BEGIN + "f" + CALLS_END,
    ],
)
def test_what_only_resembles_a_call_stays_text(text):
    assert found(CALLS, text) is None


def of_f(*arguments):
    return [("f", one) for one in arguments]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ('{"name": "f", "parameters": {"count": 1,},}', of_f({"count": 1})),
        ('<tool_call>{"name": "f", "arguments": {"items": [1, 2,]}}</tool_call>', of_f({"items": [1, 2]})),
        ('```tool_call\n{"name": "f", "arguments": {}}\n```', of_f({})),
        ('```python\n{"name": "f", "arguments": {}}\n```', of_f({})),
        ('{"id": "1", "type": "function", "name": "f", "arguments": {}}', of_f({})),
        ('{"name": "f", "arguments": null}', of_f(None)),
        ('{"name": "f", "arguments": "{}"}', of_f("{}")),
        ("<function=f>\n</function>\n</tool_call>", of_f({})),
        ("<tool_call><function=f><parameter=text>a</parameter></function>", of_f({"text": "a"})),
        ("<tool_call><function=f></function><function=f></function></tool_call>", of_f({}, {})),
        ("[f(text='it's', items=('a', 'b',),)]", of_f({"text": "it's", "items": ["a", "b"]})),
        (r"[f(text='\x41\u00e9\U0001F389\101\q\ud83c\udf89\/')]", of_f({"text": "Aé🎉A\\q🎉/"})),
        (
            "[f(is_on=true, nothing=null, options={'a': False})]",
            of_f({"is_on": True, "nothing": None, "options": {"a": False}}),
        ),
        (
            "<|tool_call>call:f{text:word,count:5, is_on : true}<tool_call|>",
            of_f({"text": "word", "count": 5, "is_on": True}),
        ),
        ('<|tool_call>call:f{count:<|"|>5<|"|>,text:7}<tool_call|>', of_f({"count": 5, "text": "7"})),
        ('<|tool_call>call:any{a:5,<|"|>b c<|"|>:word}<tool_call|>', [("any", {"a": 5, "b c": "word"})]),
        (f"<{BAR}tool▁calls{BAR}>function<{BAR}tool▁sep{BAR}>f\n```json\n{{}}\n```", of_f({})),
    ],
)
def test_small_deviations_are_understood(text, calls):
    assert found(CALLS, text) == calls


HOSTILE = 100_000
REPEATED = [
    "{", "[", "[{", '{"name":', '{"a":', "}", '"', "\\", "`", "```", "```json\n", " ", ",", "<", "9", "-", "\\x4",
    "<tool_call>", '<tool_call>{"name": "f", "arguments": {}}', '<tool_call>{"name": "f", "arguments": {}}</tool_call>',
    "<function=f>", "<function=", "<function=f></function>", "<parameter=a></parameter>", "</parameter> ",
    "<TOOLCALL>", "functools", "functools[", "<|tool_call|>[", "<|python_tag|>",
    "[f(", "[f(a=[", "f(", "a='", "'", "''", "' ", "\\'", "```tool_code\n", "f()\n",
    "<|tool_call_start|>[", "<|tool_call_start|>[f()]<|tool_call_end|>",
    "<start_function_call>call:f{", "<escape>", "<|tool_call>call:f{", '<|"|>',
    "[TOOL_CALLS]", "[TOOL_CALLS]f", "[TOOL_CALLS]f{}", "f{}", "f",
    CALLS_BEGIN, f"<{BAR}tool▁call▁begin{BAR}>f<{BAR}tool▁sep{BAR}>{{}}", "<think>", "</think>",
]  # fmt: skip
BEFORE = [
    "", "[", '{"name": "', '{"name": "f", "arguments": {"a": ', "<tool_call>", "<tool_call><function=f>",
    "<function=f><parameter=a>", "[f(a=", "[f(a='", '[f(a="', "[f(a={", "```tool_code\n",
    "<|tool_call>call:f{a:", '<|tool_call>call:f{a:<|"|>', "[TOOL_CALLS]", CALLS_BEGIN, "<think>",
]  # fmt: skip


@pytest.mark.parametrize("before", BEFORE)
def test_hostile_texts_take_linear_time(before):
    for unit in REPEATED:  # else the suite's time limit ends it
        text = before + unit * (HOSTILE // len(unit))
        for constraint in (CALLS, CallConstraint(TOOLS, required=True)):
            parse_text_calls(constraint, text)
        is_beginning_of_calls(TOOLS, text)


def test_more_calls_than_could_be_meant_are_text():
    call = "<tool_call><function=f></function></tool_call>"
    assert len(found(CALLS, call * MAX_CALLS)) == MAX_CALLS
    assert found(CALLS, call * (MAX_CALLS + 1)) is None


def test_a_text_that_ends_early_is_told_from_another_one():
    with pytest.raises(Unfinished):
        read_calls("<tool_call>", TOOLS)
    with pytest.raises(NotCalls) as caught:
        read_calls("<tool_call>.", TOOLS)
    assert not isinstance(caught.value, Unfinished)
