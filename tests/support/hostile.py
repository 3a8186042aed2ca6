"""An upstream that answers wrongly in every way that is known, and rightly in unusual ways: cases for hypothesis.

Each case knows what must become of it: it is made from a right value, so that is known without asking any judge.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support import hostile_calls, hostile_texts
from tests.support.behaviours import Behaviour, Call, respond, stream
from tests.support.stream_events import DONE, chunk, delta, finished, first, split, sse, usage_event, usage_of

Fate = Literal["valid", "repairable", "invalid", "truncated", "broken"]
"""what must become of it: served as it is; served as it was meant; never served; served, saying `length`; an error"""

AT_LIMIT = 7  # tokens: the limit, where an answer is as long as it may be
QUESTION = [{"role": "user", "content": "Who is it?"}]
WHOLE_BODY = 100_000


@dataclass(frozen=True)
class Case:
    """What is asked, what the upstream says each time, and what must become of it."""

    name: str
    fate: Fate
    asked: Mapping[str, Any]
    message: Mapping[str, Any]
    expected: object = None
    """what the client must get: a JSON value, a text, or a list of calls (name, arguments)"""
    finish: str | None = "stop"
    usage: Mapping[str, Any] = field(default_factory=lambda: usage_of(10, 2))
    done: bool = True
    """the stream says `[DONE]`"""
    characters: int = 5
    """of an event of the stream"""
    bytes: int = WHOLE_BODY
    """that come together: where few, they split events, lines and UTF-8 characters"""

    def body(self, model: str, *, streamed: bool) -> dict[str, Any]:
        """Return the request."""
        return {"model": model, "messages": QUESTION, **self.asked} | ({"stream": True} if streamed else {})


def cases(count: int) -> list[Case]:
    """Return so many generated cases, the same ones each time: each kind in turn."""
    each = -(-count // len(KINDS))
    columns = [_examples(kind, each + 1)[1:] for kind in KINDS]  # hypothesis begins with the least there is
    return [case for row in itertools.zip_longest(*columns) for case in row if case][:count]


def _examples(kind: st.SearchStrategy[Case], count: int) -> list[Case]:
    found: list[Case] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_cut_up(kind))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


def play(case: Case) -> Behaviour:
    """Answer as the case says, whole or streamed as the request asks."""

    async def behave(call: Call) -> None:
        if call.json.get("stream"):
            await stream(*split(b"".join(map(sse, _events(case))), case.bytes))(call)
            return
        choice = {"index": 0, "message": {"role": "assistant", **case.message}, "finish_reason": case.finish}
        await respond(200, {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": case.usage})(
            call
        )

    return behave


def _events(case: Case) -> list[Any]:
    events: list[Any] = [first()]
    events += [delta(piece) for piece in _pieces(case.message.get("content") or "", case.characters)]
    for index, call in enumerate(case.message.get("tool_calls") or ()):
        written = call["function"].get("arguments")
        pieces = _pieces(written, case.characters) if isinstance(written, str) else [written]
        events += [_of_call({**call, "index": index, "function": call["function"] | {"arguments": pieces[0]}})]
        events += [_of_call({"index": index, "function": {"arguments": piece}}) for piece in pieces[1:]]
    if case.finish is not None:
        events.append(finished(case.finish))
    events.append(usage_event(dict(case.usage)))
    return [*events, DONE] if case.done else events


def _of_call(part: dict[str, Any]) -> dict[str, Any]:
    return chunk([{"index": 0, "delta": {"tool_calls": [part]}, "finish_reason": None}])


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


# What is asked, and what is right.

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PEOPLE = st.fixed_dictionaries({"name": NAMES, "age": st.integers(0, 10**6), "tags": st.lists(NAMES, max_size=2)})
PLACES = st.fixed_dictionaries({"city": NAMES, "days": st.integers(1, 14)})
NUMBERS = st.integers(0, 10**6)
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "person", "schema": hostile_texts.SCHEMA, "strict": True}}
AS_OBJECT = {"type": "json_object"}
Draw = Callable[..., Any]


@st.composite
def _form(draw: Draw, name: str, kind: hostile_texts.Kind, fate: Fate, *formats: Mapping[str, Any]) -> Case:
    value = draw(PEOPLE)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 2])))
    content = kind(value, text, draw(NUMBERS))
    asked = {"response_format": draw(st.sampled_from(formats))}
    return Case(name, fate, asked, {"content": content}, json.loads(content) if fate == "valid" else value)


@st.composite
def _choice(draw: Draw, name: str, kind: hostile_texts.Kind, fate: Fate) -> Case:
    choice = draw(st.sampled_from(hostile_texts.CHOICES))
    asked = {"structured_outputs": {"choice": list(hostile_texts.CHOICES)}}
    return Case(f"choice: {name}", fate, asked, {"content": kind({}, choice, draw(NUMBERS))}, choice)


@st.composite
def _call(
    draw: Draw, name: str, kind: hostile_calls.Kind, fate: Fate, choices: str = "auto required named", count: int = 1
) -> Case:
    given, choice, single = draw(PLACES), draw(st.sampled_from(choices.split())), draw(st.booleans())
    message = kind(given, draw(NUMBERS))
    asked = {"tools": hostile_calls.TOOLS, "tool_choice": hostile_calls.NAMED if choice == "named" else choice}
    if single:
        asked["parallel_tool_calls"] = False
        fate = "invalid" if count > 1 else fate
    finish = "tool_calls" if message.get("tool_calls") and draw(st.booleans()) else "stop"
    expected = [("weather", given), ("ping", {})][:count] or message["content"]
    return Case(f"call, {choice}: {name}", fate, asked, message, expected, finish)


@st.composite
def _end(draw: Draw, /, name: str, fate: Fate, *, whole: bool, full: bool, **end: Any) -> Case:
    """Right, or cut, with an end that tells, hides or leaves out how it ended."""
    value = draw(PEOPLE)
    text = json.dumps(value, ensure_ascii=False)
    content = text if whole else hostile_texts.cut(text, draw(NUMBERS))
    asked = {"response_format": AS_SCHEMA, "max_tokens": AT_LIMIT}
    usage = usage_of(10, AT_LIMIT if full else AT_LIMIT - 1)
    expected = value if fate == "valid" else content
    return Case(name, fate, asked, {"content": content}, expected, usage=usage, **end)


@st.composite
def _cut_up(draw: Draw, kind: st.SearchStrategy[Case]) -> Case:
    case: Case = draw(kind)
    return replace(case, characters=draw(st.integers(1, 8)), bytes=draw(st.sampled_from([3, 50, WHOLE_BODY])))


def _kinds() -> Iterator[st.SearchStrategy[Case]]:
    texts, calls = hostile_texts, hostile_calls
    forms: tuple[tuple[texts.Kinds, Fate], ...] = (
        (texts.RIGHT, "valid"),
        (texts.MEANT, "repairable"),
        (texts.WRONG, "invalid"),
    )
    for kinds, fate in forms:
        yield from (_form(name, kind, fate, AS_SCHEMA, AS_OBJECT) for name, kind in kinds.items())
    yield from (_form(name, kind, "invalid", AS_SCHEMA) for name, kind in texts.AGAINST_THE_SCHEMA.items())
    choices: tuple[tuple[texts.Kinds, Fate], ...] = (
        (texts.RIGHT_CHOICE, "valid"),
        (texts.MEANT_CHOICE, "repairable"),
        (texts.WRONG_CHOICE, "invalid"),
    )
    for kinds, fate in choices:
        yield from (_choice(name, kind, fate) for name, kind in kinds.items())
    yield from (_call(name, kind, "valid") for name, kind in calls.RIGHT.items())
    yield from (_call(name, kind, "repairable") for name, kind in calls.MEANT.items())
    yield from (_call(name, kind, "invalid") for name, kind in calls.WRONG.items())
    yield from (_call(name, kind, "valid", "auto", 0) for name, kind in calls.NO_CALL.items())
    yield from (_call(name, kind, "invalid", "required named", 0) for name, kind in calls.NO_CALL.items())
    yield from (_call(name, kind, "invalid", "required named", 0) for name, kind in calls.NOTHING.items())
    yield from (_call(name, kind, "valid", "auto required", 2) for name, kind in calls.TWO.items())
    yield from (_call(name, kind, "repairable", "auto required", 2) for name, kind in calls.TWO_MEANT.items())
    yield _end("cut, and says so", "truncated", whole=False, full=True, finish="length")
    yield _end("whole, and says that it was cut", "truncated", whole=True, full=True, finish="length")
    yield _end("cut, and says stop", "truncated", whole=False, full=True)
    yield _end("broken off, and says stop", "invalid", whole=False, full=False)
    yield _end("no finish_reason", "broken", whole=True, full=False, finish=None)
    yield _end("no finish_reason, and no [DONE]", "broken", whole=False, full=False, finish=None, done=False)
    yield _end("no [DONE]", "valid", whole=True, full=False, done=False)


KINDS = list(_kinds())
