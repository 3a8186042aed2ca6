"""Readers of calls that are not written as plain JSON. Each raises NotCalls if the text is something else. Pure."""

from __future__ import annotations

import re
from typing import Any

from router.structured.answer.text_calls.json_calls import FENCE, Tools, WrittenCall, read_json, written_call
from router.structured.answer.text_calls.literals import gemma_key, gemma_value, python_value, unique
from router.structured.answer.text_calls.parameter_types import parameter_types, typed_value
from router.structured.answer.text_calls.scanner import NotCalls, Scanner, Unfinished

_NAME = re.compile(r"[\w.:/-]++")
_PYTHON_NAME = re.compile(r"[^\W\d][\w.-]*+")
_KEYWORD = re.compile(r"[^\W\d]\w*+")
_BAR = "\uff5c"
"""a full-width bar, around the names of DeepSeek's tokens"""
_END_OF_PARAMETER, _END_OF_FUNCTION = "</parameter>", "</function>"


def _python_call(scanner: Scanner) -> WrittenCall:
    name = scanner.token(_PYTHON_NAME)
    scanner.expect("(")
    return written_call(scanner, name, unique(scanner.sequence(")", lambda: _keyword(scanner))))


def _keyword(scanner: Scanner) -> tuple[str, Any]:
    name = scanner.token(_KEYWORD)
    scanner.skip_space()
    scanner.expect("=")
    return name, python_value(scanner)


def read_python(scanner: Scanner, _: Tools) -> list[WrittenCall]:
    """Read a Python list of calls with keyword arguments."""
    scanner.expect("[")
    return scanner.sequence("]", lambda: _python_call(scanner))


def read_python_block(scanner: Scanner, tools: Tools) -> list[WrittenCall]:
    """Read Python calls, or a list of them, up to the end of a code fence."""
    calls: list[WrittenCall] = []
    while True:
        scanner.skip_space()
        if scanner.next_word(FENCE):
            return calls
        calls += read_python(scanner, tools) if scanner.peek() == "[" else [_python_call(scanner)]


def read_functions(scanner: Scanner, tools: Tools) -> list[WrittenCall]:
    """Read `<function=NAME>` elements. The `<tool_call>` tags around them may be missing."""
    calls: list[WrittenCall] = []
    while True:
        scanner.accept("<tool_call>")
        scanner.skip_space()
        calls.append(_function(scanner, tools))
        scanner.skip_space()
        if not scanner.at_end and scanner.accept("</tool_call>"):
            scanner.skip_space()
        if scanner.at_end:
            return calls


def _function(scanner: Scanner, tools: Tools) -> WrittenCall:
    """Read one element. It contains `<parameter=NAME>` elements, or one JSON object."""
    scanner.expect("<function=")
    name = scanner.until(">").strip()
    scanner.skip_space()
    if scanner.peek() == "{":
        arguments = scanner.json()
        scanner.skip_space()
        scanner.expect(_END_OF_FUNCTION)
        return written_call(scanner, name, arguments)
    tool, members = tools.get(name), list[tuple[str, Any]]()
    while scanner.expect("<parameter=", _END_OF_FUNCTION) != _END_OF_FUNCTION:
        parameter = scanner.until(">").strip()
        members.append((parameter, typed_value(_parameter_text(scanner), parameter_types(tool, parameter))))
    return written_call(scanner, name, unique(members))


def _parameter_text(scanner: Scanner) -> str:
    """Read up to the closing tag that another tag of the format follows: the text may contain that tag, too."""
    start = scanner.at
    while True:
        scanner.until(_END_OF_PARAMETER)
        end = scanner.at - len(_END_OF_PARAMETER)
        scanner.skip_space()
        if scanner.next_word("<parameter=", _END_OF_FUNCTION):
            return scanner.text[start:end].removeprefix("\n").removesuffix("\n")


def read_gemma(quote: str, scanner: Scanner, tools: Tools) -> list[WrittenCall]:
    """Read `call:NAME{key:value}`, with strings between two `quote` tokens."""
    scanner.expect("call:")
    name = scanner.token(_NAME)
    scanner.expect("{")
    tool = tools.get(name)

    def member() -> tuple[str, Any]:
        key = gemma_key(scanner, quote)
        return key, gemma_value(scanner, quote, parameter_types(tool, key))

    return [written_call(scanner, name, unique(scanner.sequence("}", member)))]


def read_mistral(scanner: Scanner, tools: Tools) -> list[WrittenCall]:
    """Read JSON calls after one `[TOOL_CALLS]`, or a name and its arguments after each of several."""
    calls: list[WrittenCall] = []
    while True:
        scanner.expect("[TOOL_CALLS]")
        scanner.skip_space()
        calls += read_json(scanner, tools) if scanner.peek() in "[{" else [_named_json(scanner)]
        scanner.skip_space()
        if scanner.at_end:
            return calls


def _named_json(scanner: Scanner) -> WrittenCall:
    name = scanner.token(_NAME)
    if scanner.accept("[CALL_ID]"):
        scanner.token(_NAME)
    scanner.accept("[ARGS]")
    scanner.skip_space()
    return written_call(scanner, name, scanner.json())


def read_named_json(scanner: Scanner, tools: Tools) -> list[WrittenCall]:
    """Read the name of a tool and its arguments: what is left of Mistral's format without special tokens."""
    calls: list[WrittenCall] = []
    while True:
        start = scanner.at
        try:
            known = scanner.token(_NAME) in tools
        except Unfinished:
            known = any(name.startswith(scanner.text[start:]) for name in tools)
        if not known:
            raise NotCalls
        scanner.at = start
        calls.append(_named_json(scanner))
        scanner.skip_space()
        if scanner.at_end:
            return calls


def _spellings(*words: str) -> tuple[str, ...]:
    """Return a token of DeepSeek as the distilled models spell it: they have no single token for it."""
    return tuple(f"<{_BAR}{between.join(words)}{_BAR}>" for between in ("▁", "_", " ", r"\_"))


_CALLS_BEGIN = (*_spellings("tool", "calls", "begin"), f"<{_BAR}tool▁calls{_BAR}>")
_CALLS_END = _spellings("tool", "calls", "end")
_CALL_BEGIN, _CALL_END = _spellings("tool", "call", "begin"), _spellings("tool", "call", "end")
_SEPARATOR = _spellings("tool", "sep")


def read_deepseek(scanner: Scanner, _: Tools) -> list[WrittenCall]:
    """Read a type, a name and fenced JSON (R1), or a name and JSON (V3.1), each between two tokens."""
    calls: list[WrittenCall] = []
    scanner.expect(*_CALLS_BEGIN)
    while True:
        scanner.skip_space()
        if calls and (scanner.at_end or scanner.accept(*_CALLS_END)):
            return calls
        scanner.accept(*_CALL_BEGIN)
        name = scanner.token(_NAME)
        scanner.expect(*_SEPARATOR)
        if scanner.peek() not in "{`\n":
            name = scanner.token(_NAME)
        scanner.skip_space()
        if fence := scanner.accept(FENCE):
            scanner.accept("json")
            scanner.skip_space()
        calls.append(written_call(scanner, name, scanner.json()))
        scanner.skip_space()
        if fence:
            scanner.expect(FENCE)
        if not scanner.at_end:
            scanner.accept(*_CALL_END)
