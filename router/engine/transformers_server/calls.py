"""Required tool calls: the JSON schema that decoding enforces, and the calls read from the text. Pure.

The text is `[{"name": ..., "arguments": {...}}, ...]`, or for one named function its arguments alone. Without a
required call the model writes as it was trained to, and the gateway reads the calls from its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .errors import RequestError, unsupported_format

WHITESPACE = r"[ \n]{0,16}"
"""between two tokens of JSON: a small model could write blanks without end"""
_CALL = re.compile(r'[\[\]{},\s]*?\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_JSON = json.JSONDecoder()


class Call(NamedTuple):
    """One call. `arguments` is the text that the model wrote."""

    name: str
    arguments: str


@dataclass(frozen=True)
class RequiredCalls:
    """The functions of which the answer must call one or more. `named`: the only one, by its name."""

    parameters: Mapping[str, Mapping[str, Any]]
    single: bool
    named: str | None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> RequiredCalls | None:
        """Read the calls that a request requires; return None if it requires none.

        Raises:
            RequestError: `tools` or `tool_choice` is invalid.
        """
        choice = body.get("tool_choice")
        if choice in (None, "none", "auto"):
            return None
        tools, single = _parameters(body), body.get("parallel_tool_calls") is False
        if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
            allowed = choice.get("allowed_tools")
            if not isinstance(allowed, Mapping):
                raise _invalid_choice()
            if allowed.get("mode") == "auto":
                return None
            names = [str(_function(tool).get("name")) for tool in allowed.get("tools") or []]
            tools = {name: _known(tools, name) for name in names}
        elif choice != "required":
            name = _function(choice).get("name")
            return cls({str(name): _known(tools, name)}, True, str(name))
        if not tools:
            raise _invalid_choice()
        return cls(tools, single, None)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the answer.

        Raises:
            RequestError: two functions define the same name differently.
        """
        options = {"x-guidance": {"whitespace_pattern": WHITESPACE}}
        if self.named is not None:
            return {**self.parameters[self.named], **options}
        definitions: dict[str, Any] = {}
        calls = []
        for name, parameters in self.parameters.items():
            schema = {key: value for key, value in parameters.items() if key != "$defs"}
            for key, value in (parameters.get("$defs") or {}).items():
                if definitions.setdefault(key, value) != value:
                    raise unsupported_format(f"Two functions define {key!r} differently.", "tools")
            calls.append(
                {
                    "type": "object",
                    "properties": {"name": {"const": name}, "arguments": schema},
                    "required": ["name", "arguments"],
                    "additionalProperties": False,
                }
            )
        most = {"maxItems": 1} if self.single else {}
        found = {"$defs": definitions} if definitions else {}
        return {"type": "array", "items": {"anyOf": calls}, "minItems": 1, **most, **found, **options}


class CallReader:
    """Reads the calls from a growing text, each as soon as its arguments are complete."""

    def __init__(self, calls: RequiredCalls) -> None:
        self._named = calls.named
        self._text = ""
        self._at = 0

    def feed(self, text: str) -> list[Call]:
        """Add text; return the calls that it completes."""
        self._text += text
        found = []
        # arguments are an object, so only a brace can complete a call
        while "}" in text and (head := self._head()):
            name, start = head
            try:
                _, self._at = _JSON.raw_decode(self._text, start)
            except ValueError:
                break
            found.append(Call(name, self._text[start : self._at]))
        return found

    def rest(self) -> Call | None:
        """Return the call that the end of the answer cut, or None."""
        head = self._head()
        return head and Call(head[0], self._text[head[1] :])

    def _head(self) -> tuple[str, int] | None:
        """Return the name of the next call, and where its arguments begin."""
        if self._named is not None:
            start = len(self._text) - len(self._text[self._at :].lstrip())
            return (self._named, start) if start < len(self._text) else None
        found = _CALL.match(self._text, self._at)
        return (json.loads(found[1]), found.end()) if found else None


def shown_tools(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """Return the tools that the prompt shows: none if none may be called."""
    tools = body.get("tools")
    return tools if tools and body.get("tool_choice") != "none" else None


def _parameters(body: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the schema of each function's arguments, by its name."""
    tools = body.get("tools") or []
    found = {}
    for tool in tools if isinstance(tools, list) else []:
        function = _function(tool)
        parameters = function.get("parameters") or {"type": "object"}
        if not isinstance(parameters, Mapping):
            raise unsupported_format("The parameters of a function are not an object.", "tools")
        found[str(function.get("name"))] = parameters
    return found


def _function(tool: object) -> Mapping[str, Any]:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping):
        raise RequestError("Invalid value for 'tools' or 'tool_choice': expected functions.", param="tools")
    return function


def _known(tools: Mapping[str, Mapping[str, Any]], name: object) -> Mapping[str, Any]:
    if not isinstance(name, str) or name not in tools:
        raise _invalid_choice()
    return tools[name]


def _invalid_choice() -> RequestError:
    message = "Invalid value for 'tool_choice': expected 'none', 'auto', 'required' or functions of 'tools'."
    return RequestError(message, param="tool_choice")
