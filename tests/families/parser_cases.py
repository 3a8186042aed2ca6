"""What models of the families say, and what should arrive of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.families.entries import Family
from tests.families.formats import Call

PIECES = ("whole", "1 char", "3 chars", "7 chars", "1 token", "5 tokens")

PARIS = Call("get_weather", {"city": "Paris", "days": 3})
CALLS: Mapping[str, list[Call]] = {
    "call": [PARIS],
    "two calls": [PARIS, Call("get_time", {"zone": "Europe/Madrid"})],
    "no arguments": [Call("stop", {})],
    "awkward texts": [Call("note", {"text": "é 東京 🌧 {now}, [x]: it's </b>, \"so\"\nnew line", "city": "a=b, c"})],
    "nested": [
        Call("book", {"guests": [{"name": "Ann", "age": 30}, {"name": "Bo", "age": 4}], "late": True, "price": 12.5})
    ],
}
THOUGHTS = "The user asks for the weather. I need a <tool> for {Paris}, or 2 < 3."
ANSWER = 'It is "sunny" in Paris, [as] {ever}: 21 < 30.'


@dataclass(frozen=True, slots=True)
class Case:
    """One answer."""

    name: str
    said: str
    reasoning: str | None = None
    content: str | None = None
    calls: list[Call] = field(default_factory=list)
    switches: Mapping[str, Any] = field(default_factory=dict)
    """`chat_template_kwargs`"""


def cases_of(family: Family) -> Iterator[Case]:
    """Yield what a model of the family may say: without thoughts, where it can do without, and with them."""
    if family.reasoning_parser is None:
        yield Case("text", ANSWER, content=ANSWER)
        yield from _calls(family)
        return
    think, off = _thoughts(family)
    on = {"enable_thinking": True} if off is not None else {}
    yield Case("thoughts, text", think + ANSWER, THOUGHTS, ANSWER, switches=on)
    for case in _calls(family):
        yield Case(f"thoughts, {case.name}", think + case.said, THOUGHTS, case.content, case.calls, on)
    if off is not None:
        yield Case("text", ANSWER, content=ANSWER, switches=off)
        for case in _calls(family):
            yield Case(case.name, case.said, None, case.content, case.calls, off)


def _calls(family: Family) -> Iterator[Case]:
    if family.calls is None:
        return
    for name, calls in CALLS.items():
        yield Case(name, family.calls(calls), calls=calls)
    before = "Let me see."
    yield Case("text, call", f"{before}\n{family.calls([PARIS])}", content=before, calls=[PARIS])


def _thoughts(family: Family) -> tuple[str, Mapping[str, Any] | None]:
    """Return the thoughts as the family writes them, and how a request turns them off, if it can."""
    if family.reasoning_parser == "gemma4":
        return f"<|channel>thought\n{THOUGHTS}<channel|>", {"enable_thinking": False}
    think = f"{THOUGHTS}\n</think>\n\n"
    if family.opens_thoughts:
        think = f"<think>\n{think}"
    return think, None if family.reasoning_parser == "deepseek_r1" else {"enable_thinking": False}


def _tool(name: str, **parameters: Any) -> dict[str, Any]:
    properties = {key: schema if isinstance(schema, dict) else {"type": schema} for key, schema in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": f"{name}.", "parameters": schema}}


_GUEST = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}
TOOLS = [
    _tool("get_weather", city="string", days="integer"),
    _tool("get_time", zone="string"),
    _tool("stop"),
    _tool("note", text="string", city="string"),
    _tool("book", guests={"type": "array", "items": _GUEST}, late="boolean", price="number"),
]
