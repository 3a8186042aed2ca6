"""Measure how far an answer agrees with a reference answer, for calls whose answers nobody graded. Pure.

JSON is compared field by field, and tool calls by name and arguments. Answers in the formats `choice`, `regex` and
`grammar` are compared as a whole. Free text is not compared: good answers rarely agree word by word, so too many of
them would count as worse. Only a judge can grade them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from router.messages import strict_json
from router.messages.choice import Choice, normalized
from router.structured.request.output_format import requested_format
from router.types import FormatKind

Leaves = dict[tuple[str | int, ...], str]

_JSON_KINDS: tuple[FormatKind, ...] = ("json_schema", "json_object")
_LABEL_KINDS: tuple[FormatKind, ...] = ("choice", "regex", "grammar")


class Incomparable(Exception):
    """The two answers cannot be compared fairly; the message says why."""


def agreement(body: Mapping[str, Any], answer: Mapping[str, Any], standard: Mapping[str, Any]) -> float:
    """Return how far an answer agrees with the reference answer, from 0 to 1.

    Args:
        body: the body of the request.
        answer: the choice to grade, in OpenAI's format.
        standard: the choice that is taken to be right.

    Raises:
        Incomparable: the answer is free text, or the standard does not have the requested format.
        BadRequest: the requested format is invalid.
    """
    given, right = msgspec.convert(answer, Choice), msgspec.convert(standard, Choice)
    calls, right_calls = Counter(_calls(given)), Counter(_calls(right))
    if calls or right_calls:
        return (calls & right_calls).total() / max(calls.total(), right_calls.total())
    text, right_text = given.answer_text, right.answer_text
    form = requested_format(body)
    if form is not None and form.kind in _LABEL_KINDS:
        return float(normalized(text) == normalized(right_text))
    leaves, right_leaves = _leaves_of(text), _leaves_of(right_text)
    if form is not None and form.kind in _JSON_KINDS:
        if right_leaves is None:
            raise Incomparable("the fallback's answer is not JSON")
        return _share_of_equal_fields(leaves or {}, right_leaves)
    if leaves is None or right_leaves is None:
        raise Incomparable("free text cannot be compared word by word; give each answer a `quality` from a judge")
    return _share_of_equal_fields(leaves, right_leaves)


def _share_of_equal_fields(one: Leaves, other: Leaves) -> float:
    """Return the share of all fields that both have with the same value."""
    return sum(other.get(path) == value for path, value in one.items()) / len(one.keys() | other.keys())


def _calls(choice: Choice) -> Iterator[tuple[str, frozenset[tuple[tuple[str | int, ...], str]]]]:
    """Yield name and arguments of each call. Calls that differ in one argument are different calls."""
    for function in choice.functions:
        leaves = _leaves_of(function.arguments)
        written = {(): function.arguments} if leaves is None else leaves
        yield function.name, frozenset(written.items())


def _leaves_of(text: str) -> Leaves | None:
    """Return the fields and values of a JSON object or array, or None if the text is neither."""
    try:
        value = strict_json.loads(text)
    except strict_json.NotJson:
        return None
    return dict(_leaves(value)) if isinstance(value, dict | list) else None


def _leaves(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in below:
        yield from _leaves(child, (*path, step))
    if not isinstance(value, dict | list) or not value:
        yield path, _normalized_json(value)


def _normalized_json(value: object) -> str:
    """Return a value in the form for comparison: 1 equals 1.0, and case and spaces of a text do not count."""
    if isinstance(value, str):
        value = normalized(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    return json.dumps(value)
