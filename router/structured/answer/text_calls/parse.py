"""What a text means where tool calls are allowed: calls, the beginning of calls, or words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from router.structured.answer.reasoning import may_be_reasoning, separations, split_reasoning
from router.structured.answer.text_calls.formats import may_begin_calls, read_calls
from router.structured.answer.text_calls.json_calls import Tools, WrittenCall
from router.structured.answer.text_calls.scanner import NotCalls, Unfinished
from router.structured.constraint import CallConstraint


class TextCalls(NamedTuple):
    """The calls of a text."""

    fields: Mapping[str, Any]
    """the message's field with the calls; they have no ids yet"""
    reasoning: str
    """what the text has before the calls"""


def parse_text_calls(constraint: CallConstraint, content: str) -> TextCalls | None:
    """Parse calls that a model wrote as text, or return None if the content is something else.

    1. The content consists of calls in one of the FORMATS, apart from leading reasoning.
    2. Unless a call is required, each names a tool and has an object as its arguments. Otherwise the content is an
       answer that only looks like a call. If a call is required, it is checked as one, to say what is wrong with it.
    """
    for reasoning, text in separations(content):
        try:
            calls = read_calls(text.strip(), constraint.tools)
        except NotCalls:
            continue
        if (constraint.legacy and len(calls) > 1) or not all(_is_call(constraint, call) for call in calls):
            return None
        functions = [{"name": call.name, "arguments": call.arguments} for call in calls]
        if constraint.legacy:
            return TextCalls({"function_call": functions[0]}, reasoning)
        return TextCalls({"tool_calls": [{"function": function} for function in functions]}, reasoning)
    return None


def may_become_calls(tools: Tools, text: str) -> bool:
    """Return whether a text with this beginning may consist of calls, after leading reasoning."""
    return may_be_reasoning(text) or may_begin_calls(split_reasoning(text)[1].strip(), tools)


def is_beginning_of_calls(tools: Tools, content: str) -> bool:
    """Return whether a content is the beginning of calls, and not the whole."""
    return may_be_reasoning(content) or any(_is_unfinished(tools, text) for _, text in separations(content))


def _is_unfinished(tools: Tools, text: str) -> bool:
    try:
        read_calls(text.strip(), tools)
    except Unfinished:
        return True
    except NotCalls:
        return False
    return False


def _is_call(constraint: CallConstraint, call: WrittenCall) -> bool:
    if constraint.required:
        return True
    arguments = call.arguments
    is_object = isinstance(arguments, str) and (not arguments.strip() or arguments.lstrip().startswith(("{", "```")))
    return call.name in constraint.tools and (arguments is None or is_object or isinstance(arguments, Mapping))
