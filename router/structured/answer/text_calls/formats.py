"""The formats in which model families write tool calls. A new format is one entry of FORMATS. Pure.

A family's special tokens may be missing from its calls: engines remove them from the text unless told otherwise.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from router.structured.answer.text_calls.json_calls import FENCE, Reader, Tools, WrittenCall, read_json, read_json_list
from router.structured.answer.text_calls.readers import (
    read_deepseek,
    read_functions,
    read_gemma,
    read_mistral,
    read_named_json,
    read_python,
    read_python_block,
)
from router.structured.answer.text_calls.scanner import NotCalls, Scanner, Unfinished


class CallFormat(NamedTuple):
    """A format, with the name that docs/structured.md has for it."""

    name: str
    read: Reader


def _either(first: Reader, second: Reader) -> Reader:
    """Read what the first reader reads, else what the second reads. At most one of them reads further than a tag."""

    def read(scanner: Scanner, tools: Tools) -> list[WrittenCall]:
        start = scanner.at
        try:
            return first(scanner, tools)
        except Unfinished:
            raise
        except NotCalls:
            scanner.at = start
            return second(scanner, tools)

    return read


def _between(opening: tuple[str, ...], body: Reader, closing: tuple[str, ...] = ()) -> Reader:
    """Read one or more bodies, each between two tags. The last closing tag may be missing."""

    def read(scanner: Scanner, tools: Tools) -> list[WrittenCall]:
        calls: list[WrittenCall] = []
        while True:
            scanner.expect(*opening)
            scanner.skip_space()
            calls += body(scanner, tools)
            scanner.skip_space()
            if closing and not scanner.at_end:
                scanner.expect(*closing)
                scanner.skip_space()
            if scanner.at_end:
                return calls

    return read


FORMATS = (
    CallFormat("JSON", read_json_list),
    CallFormat("tagged JSON", _between(("<tool_call>",), read_json, ("</tool_call>",))),
    CallFormat("function tags", read_functions),
    CallFormat("Nemotron", _between(("<TOOLCALL>", "<toolcall>"), read_json, ("</TOOLCALL>", "</toolcall>"))),
    CallFormat("functools", _between(("functools",), read_json)),
    CallFormat("token and JSON", _between(("<|tool_call|>",), read_json, ("<|/tool_call|>", "</|tool_call|>"))),
    CallFormat("python tag", _between(("<|python_tag|>",), _either(read_json_list, read_python))),
    CallFormat("Python list", read_python),
    CallFormat("tool code", _between(("```tool_code",), read_python_block, (FENCE,))),
    CallFormat("LFM2", _between(("<|tool_call_start|>",), _either(read_json, read_python), ("<|tool_call_end|>",))),
    CallFormat(
        "FunctionGemma", _between(("<start_function_call>",), partial(read_gemma, "<escape>"), ("<end_function_call>",))
    ),
    CallFormat("Gemma 4", _between(("<|tool_call>",), partial(read_gemma, '<|"|>'), ("<tool_call|>",))),
    CallFormat("Mistral", read_mistral),
    CallFormat("name and JSON", read_named_json),
    CallFormat("DeepSeek", read_deepseek),
)


def read_calls(text: str, tools: Tools) -> list[WrittenCall]:
    """Return the calls that a text consists of, in the first format that fits.

    Raises:
        Unfinished: it may be the beginning of calls.
        NotCalls: it is something else.
    """
    unfinished = False
    for call_format in FORMATS:
        try:
            return _read_as(call_format, text, tools)
        except Unfinished:
            unfinished = True
        except NotCalls:
            continue
    raise Unfinished if unfinished else NotCalls


def may_begin_calls(text: str, tools: Tools) -> bool:
    """Return whether a text consists of calls, or may be the beginning of calls. The first format that fits decides."""
    for call_format in FORMATS:
        try:
            _read_as(call_format, text, tools)
        except Unfinished:
            return True
        except NotCalls:
            continue
        return True
    return False


def _read_as(call_format: CallFormat, text: str, tools: Tools) -> list[WrittenCall]:
    scanner = Scanner(text)
    try:
        calls = call_format.read(scanner, tools)
    except RecursionError:
        raise NotCalls from None
    scanner.skip_space()
    if not calls or not scanner.at_end:
        raise NotCalls
    return calls
