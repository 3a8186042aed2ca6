"""Calls that are written as JSON: an object, an array of objects, or one after the other. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from router.structured.answer.text_calls.scanner import NotCalls, Scanner, Unfinished
from router.structured.constraint import Tool

FENCE = "```"
_LANGUAGE = re.compile(r"[\w+-]*+")
_LANGUAGES = ("", "json", "tool_call")
"""of a code fence that may contain a call, as far as a stream shows it; a whole fence may name any"""
_KEYS = ('"name"', '"arguments"', '"parameters"', '"function"', '"type"', '"id"')
"""with which a call may begin"""
_OPTIONAL_KEYS = frozenset({"type", "id"})
Tools = Mapping[str, Tool]


class WrittenCall(NamedTuple):
    """A call as it was written: not checked yet."""

    name: str
    arguments: Any
    """a JSON value, or the text of one"""


Reader = Callable[[Scanner, Tools], list[WrittenCall]]
"""reads calls from the scanner's position on, or raises NotCalls"""


def written_call(scanner: Scanner, name: str, arguments: Any) -> WrittenCall:
    """Return a call that was read, and count it."""
    scanner.count_call()
    return WrittenCall(name, arguments)


def _json_call(scanner: Scanner, item: object) -> WrittenCall:
    """Return the call that a JSON object describes: a name with `arguments` or `parameters`, perhaps in `function`.

    Raises:
        NotCalls: it describes no call.
    """
    if (
        isinstance(item, Mapping)
        and isinstance(item.get("function"), Mapping)
        and item.keys() <= {*_OPTIONAL_KEYS, "function"}
    ):
        item = item["function"]
    if not isinstance(item, Mapping) or item.get("type", "function") != "function":
        raise NotCalls
    arguments = "parameters" if "parameters" in item else "arguments"
    if item.keys() - _OPTIONAL_KEYS != {"name", arguments} or not isinstance(item["name"], str):
        raise NotCalls
    return written_call(scanner, item["name"], item[arguments])


def read_json(scanner: Scanner, _: Tools) -> list[WrittenCall]:
    """Read one call, or an array of calls, perhaps in a code fence."""
    language = None
    if scanner.accept(FENCE):
        language = _language(scanner)
        scanner.skip_space()
    start = scanner.at
    try:
        value = scanner.json()
        if language is not None:
            scanner.skip_space()
            scanner.expect(FENCE)
    except Unfinished:
        if language not in (None, *_LANGUAGES) or not _may_begin_call(scanner.text[start:]):
            raise NotCalls from None
        raise
    return [_json_call(scanner, item) for item in (value if isinstance(value, list) else [value])]


def _language(scanner: Scanner) -> str:
    match = _LANGUAGE.match(scanner.text, scanner.at)
    end = match.end() if match else scanner.at
    language = scanner.text[scanner.at : end].casefold()
    scanner.at = end
    if not scanner.at_end:
        return language
    raise Unfinished if any(known.startswith(language) for known in _LANGUAGES) else NotCalls


def _may_begin_call(text: str) -> bool:
    rest = text.removeprefix("[").lstrip().removeprefix("{").lstrip()
    return any(rest.startswith(key) or key.startswith(rest) for key in _KEYS)


def read_json_list(scanner: Scanner, tools: Tools) -> list[WrittenCall]:
    """Read calls one after the other, perhaps with semicolons between them."""
    calls = read_json(scanner, tools)
    while True:
        scanner.skip_space()
        if not scanner.at_end and scanner.accept(";"):
            scanner.skip_space()
        if scanner.at_end:
            return calls
        calls += read_json(scanner, tools)
