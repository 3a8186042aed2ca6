"""What models of the families say, and what should arrive of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.families.entries import Family
from tests.families.formats import Call, Format, bare_list

PIECES = ("whole", "1 char", "3 chars", "7 chars", "1 token", "5 tokens")

PARIS = Call("get_weather", {"city": "Paris", "days": 3})
CALLS: Mapping[str, list[Call]] = {
    "call": [PARIS],
    "two calls": [PARIS, Call("get_time", {"zone": "Europe/Madrid"})],
    "no arguments": [Call("stop", {})],
    "awkward texts": [Call("note", {"text": 'é 東京 🌧 {now}, [x]: it\'s </b>, "so"\nnew line', "city": "a=b, c"})],
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
    # vLLM passes on as text what no parser of it knows; the gateway looks for the calls
    answers = list(answers_of(family.calls, in_text=family.entry.tools == "in text"))
    if family.thoughts is None:
        yield from answers
        return
    can_switch = family.entry.thinking != "always"
    on = {"enable_thinking": True} if can_switch else {}
    for case in answers:
        said = f"{family.thoughts.before}{THOUGHTS}{family.thoughts.after}{case.said}"
        yield replace(case, name=f"thoughts, {case.name}", said=said, reasoning=THOUGHTS, switches=on)
    if can_switch:
        for case in answers:
            yield replace(case, switches={"enable_thinking": False})


def answers_of(written: Format | None, *, in_text: bool) -> Iterator[Case]:
    """Yield answers without thoughts, with calls in this format. `in_text`: calls stay part of the content."""
    yield Case("text", ANSWER, content=ANSWER)
    if written is None:
        return
    for name, calls in CALLS.items():
        said = written(calls)
        yield Case(name, said, content=said) if in_text else Case(name, said, calls=calls)
    if written is not bare_list:  # which is all that such a model says
        before = "Let me see."
        said = f"{before}\n{written([PARIS])}"
        yield Case("text, call", said, content=said) if in_text else Case("text, call", said, None, before, [PARIS])


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
