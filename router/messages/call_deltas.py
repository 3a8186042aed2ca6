"""The fragments of tool calls in a stream: numbered from 0, and named once. Pure.

Client libraries put a call together from all fragments with its `index`, and append whatever text comes: an id that is
repeated would be there twice. Some upstreams omit the index, start at 1, use 0 for all calls, or repeat id and name.
"""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any


class CallDeltas:
    """The calls of one choice so far, in the order in which they began."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: list[_Begun] = []

    def clean(self, fragments: object) -> bool:
        """Bring the fragments of one delta into OpenAI's form, in place; return whether they were changed."""
        changed = False
        for fragment in fragments if isinstance(fragments, list) else ():
            if isinstance(fragment, dict) and isinstance(fragment.get("function", {}), dict | None):
                changed |= self._clean(fragment)
        return changed

    def _clean(self, fragment: dict[str, Any]) -> bool:
        function: dict[str, Any] = fragment.get("function") or {}
        number = self._number(fragment, function)
        if is_first := number is None:
            number = len(self._calls)
            self._calls.append(_Begun(fragment.get("index"), fragment.get("id"), function.get("name")))
        call = self._calls[number]
        changed = fragment.get("index") != number or type(fragment.get("index")) is not int
        fragment["index"] = number
        if is_first:
            if not isinstance(fragment.get("id"), str) or not fragment["id"]:
                fragment["id"], changed = f"call_{token_hex(12)}", True
            if not fragment.get("type"):
                fragment["type"], changed = "function", True
            return changed
        for name in ("id", "type"):
            if name in fragment:
                del fragment[name]
                changed = True
        if "name" in function and function["name"] in (None, "", call.name):
            del function["name"]
            changed = True
        call.name = call.name or function.get("name")
        return changed

    def _number(self, fragment: Mapping[str, Any], function: Mapping[str, Any]) -> int | None:
        """Return the number of the call that a fragment belongs to; None: it begins a new call.

        It belongs to the last call of its index, or without one to the last of all; unless it has another id, and a
        name (or no index): then it begins a new call.
        """
        index = fragment.get("index")
        same = (at for at in range(len(self._calls) - 1, -1, -1) if index is None or self._calls[at].index == index)
        at = next(same, None)
        if at is None:
            return None
        identity = fragment.get("id")
        is_new = identity and identity != self._calls[at].id and (function.get("name") or index is None)
        return None if is_new else at


class _Begun:
    """What the first fragment of a call said."""

    __slots__ = ("id", "index", "name")

    def __init__(self, index: object, identity: object, name: object) -> None:
        self.index, self.id, self.name = index, identity, name
