"""Function calls in streams and answers that other servers write in other ways, and calls that cannot be used."""

from __future__ import annotations

from typing import Any

from tests.chaos.wall.scenario import (
    Scenario,
    asked,
    calls,
    fault,
    header,
    refuses,
)
from tests.chaos.wall.upstreams import either, message
from tests.support.behaviours import CUT, Behaviour, stream
from tests.support.stream_events import DONE, delta, finished, first

STREAMED = ("streamed",)
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
ASKS: dict[str, Any] = {"tools": [WEATHER]}
REQUIRED = ASKS | {"tool_choice": "required"}
PARIS, ROME = ("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})


def part(arguments: str | None, name: str | None = None, **fields: Any) -> dict[str, Any]:
    function = ({"name": name} if name else {}) | ({} if arguments is None else {"arguments": arguments})
    return delta(tool_calls=[fields | {"function": function}])


def parts(*fragments: dict[str, Any], finish: str = "tool_calls") -> Behaviour:
    return stream(first(), *fragments, finished(finish), DONE)


def whole(arguments: Any, *more: Any, finish: str = "tool_calls", **fields: Any) -> Behaviour:
    """Answer with one call for each of these arguments."""
    made = [
        {"id": f"c{at}", "type": "function", "function": {"name": "weather", "arguments": given}} | fields
        for at, given in enumerate((arguments, *more))
    ]
    numbered = [{"index": at, **call} for at, call in enumerate(made)]
    return either(message(finish, tool_calls=made), parts(delta(tool_calls=numbered), finish=finish))


TWO: dict[str, tuple[dict[str, Any], ...]] = {
    "no index": (
        part('{"city": ', "weather", id="a"),
        part('"Paris"}'),
        part('{"city": "Rome"}', "weather", id="b"),
    ),
    "indexes from 1": (
        part('{"city": ', "weather", id="a", index=1),
        part('"Paris"}', index=1),
        part('{"city": "Rome"}', "weather", id="b", index=2),
    ),
    "id and name repeated": (
        part('{"city": ', "weather", id="a", index=0, type="function"),
        part('"Paris"}', "weather", id="a", index=0, type="function"),
        part('{"city": "Rome"}', "weather", id="b", index=1),
    ),
    "index always 0": (
        part('{"city": "Paris"}', "weather", id="a", index=0),
        part('{"city": "Rome"}', "weather", id="b", index=0),
    ),
}
GOOD = '{"city": "Paris"}'

SCENARIOS: list[Scenario] = [
    *(
        fault(
            f"fragments of two calls: {name}",
            {"slm": parts(*fragments)},
            calls(PARIS, ROME, by="slm"),
            asks=ASKS,
            modes=STREAMED,
        )
        for name, fragments in TWO.items()
    ),
    fault("arguments as an object", {"slm": whole({"city": "Paris"})}, calls(PARIS, by="slm"), asks=ASKS),
    fault(
        "the same id twice",
        {"slm": whole(GOOD, '{"city": "Rome"}', id="same")},
        calls(PARIS, ROME, by="slm"),
        asks=ASKS,
    ),
    fault("finish_reason stop after a call", {"slm": whole(GOOD, finish="stop")}, calls(PARIS, by="slm"), asks=ASKS),
    fault("finish_reason tool_use", {"slm": whole(GOOD, finish="tool_use")}, calls(PARIS, by="slm"), asks=ASKS),
    fault(
        "a call as text",
        {"slm": message(content='<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>')},
        calls(PARIS, by="slm"),
        asks=ASKS,
    ),
    fault(
        "wrong arguments once",
        {"slm": (whole('{"city": 7}'), whole(GOOD))},
        calls(PARIS, by="slm"),
        asks=REQUIRED,
        also=asked(slm=2, llm=0),
    ),
    fault(
        "wrong arguments again and again",
        {"slm": whole('{"city": 7}'), "llm": whole(GOOD)},
        calls(PARIS, by="llm"),
        asks=REQUIRED,
    ),
    fault(
        "arguments that are no JSON",
        {"slm": whole('{"city": "Par'), "llm": whole(GOOD)},
        calls(PARIS, by="llm"),
        asks=REQUIRED,
    ),
    fault(
        "words where a call must be",
        {"slm": message(content="Sunny."), "llm": whole(GOOD)},
        calls(PARIS, by="llm"),
        asks=REQUIRED,
    ),
    fault(
        "a function that nobody offered",
        {
            "slm": message(
                "tool_calls",
                tool_calls=[
                    {"id": "a", "index": 0, "type": "function", "function": {"name": "wether", "arguments": GOOD}}
                ],
            ),
            "llm": whole(GOOD),
        },
        calls(PARIS, by="llm"),
        asks=REQUIRED,
    ),
    fault(
        "two calls where one is allowed",
        {"slm": whole(GOOD, '{"city": "Rome"}'), "llm": whole(GOOD)},
        calls(PARIS, by="llm"),
        asks=REQUIRED | {"parallel_tool_calls": False},
    ),
    fault(
        "wrong arguments of every model",
        {"slm": whole('{"city": 7}'), "llm": whole('{"city": 7}')},
        refuses(502, "structured_output_violation"),
        asks=REQUIRED,
    ),
    fault(
        "cut within a call that is held back",
        {
            "slm": either(whole(GOOD), stream(first(), part('{"city": ', "weather", id="a", index=0), CUT)),
            "llm": whole(GOOD),
        },
        calls(PARIS, by="llm"),
        asks=REQUIRED,
        modes=STREAMED,
    ),
    fault(
        "one tool of three cannot be used",
        {"slm": whole(GOOD)},
        calls(PARIS, by="slm"),
        asks={"tools": [WEATHER, {"type": "function", "function": {"name": "h", "parameters": {"type": "nonsense"}}}]},
        also=header("adapted", "tools.1=unchecked"),
    ),
]
