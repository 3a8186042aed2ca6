"""Each family is started and answers: a tiny model of its architecture, with the options of the catalogue.

Everything is real but the weights: gateway, vLLM, layers, decoding under a schema, parsers.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.families.answers import Answer
from tests.families.gateways import Served
from tests.families.parser_cases import ANSWER, CALLS, THOUGHTS, TOOLS
from tests.families.selection import for_families

SHORT = {"max_tokens": 12, "routing": {"on_truncation": "accept"}}
REPORT = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "Oslo"]},
        "days": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "report", "schema": REPORT, "strict": True}}
BOUNDED_TOOL = {
    "type": "function",
    "function": {"name": "report", "description": "Reports the weather.", "parameters": REPORT, "strict": True},
}
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def test_chat(family: Served) -> None:
    answer = family.ask(**SHORT)
    assert answer.finish_reason in ("stop", "length")
    assert 0 < answer.usage["completion_tokens"] <= 12
    assert answer.usage["total_tokens"] == answer.usage["prompt_tokens"] + answer.usage["completion_tokens"]
    assert answer.usage["prompt_tokens"] > 8, "the template wrote the question"


def test_stream(family: Served) -> None:
    whole = family.ask(**SHORT)
    stream = family.ask(stream=True, stream_options={"include_usage": True}, **SHORT)
    assert stream.finish_reason == whole.finish_reason
    assert stream.usage["completion_tokens"] == whole.usage["completion_tokens"]
    assert (stream.content, stream.reasoning) == (whole.content, whole.reasoning)


def test_long_prompts_with_a_seed_at_once(family: Served) -> None:
    """They are more than vLLM computes in one step, and a CPU's random numbers cannot be taken back."""
    story = " ".join(f"On day {number} it rained in Oslo." for number in range(80))

    def ask(number: int) -> Answer:
        question = [{"role": "user", "content": f"{number}: {story}"}]
        return family.ask(messages=question, temperature=1, seed=number, max_tokens=4)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert all(answer.usage["completion_tokens"] > 0 for answer in answers)


@streamed
def test_json_schema(family: Served, stream: bool) -> None:
    answer = family.ask(response_format=FORM, stream=stream, max_tokens=600, **free(family), **without_thoughts(family))
    assert_report(answer)


@for_families(lambda family: family.thoughts is not None)
@streamed
def test_json_schema_after_thoughts(family: Served, stream: bool) -> None:
    answer = family.ask(response_format=FORM, stream=stream, max_tokens=600, **free(family), **thoughts_first(family))
    assert answer.reasoning.strip() == THOUGHTS
    assert_report(answer)


def test_long_prompts(family: Served) -> None:
    """States are computed in chunks of 128 or 256 tokens, and taken from the cache where a prompt starts as another."""
    story = " ".join(f"On day {number} it rained in Oslo." for number in range(80))
    asked = [{"messages": [{"role": "user", "content": f"{story} {end}"}], **SHORT} for end in ("Why?", "So what?")]
    first = [family.ask(**fields) for fields in asked]
    assert min(answer.usage["prompt_tokens"] for answer in first) > 512
    again = [family.ask(**fields) for fields in asked]
    assert [answer.content for answer in again] == [answer.content for answer in first]


@for_families(lambda family: family.calls is not None)
@streamed
def test_required_call(family: Served, stream: bool) -> None:
    asked = {"tools": [BOUNDED_TOOL], "tool_choice": "required", "max_tokens": 600, **free(family)}
    answer = family.ask(stream=stream, **asked, **without_thoughts(family))
    calls = answer.parsed_calls()
    assert calls
    assert {call.name for call in calls} == {"report"}
    assert all(call.arguments["city"] in ("Paris", "Oslo") for call in calls)


@for_families(lambda family: family.calls is not None)
@streamed
def test_calls_in_the_family_s_format(family: Served, stream: bool) -> None:
    assert family.family.calls is not None
    calls = CALLS["two calls"]
    answer = said(family, family.family.calls(calls), stream=stream, tools=TOOLS, tool_choice="auto")
    assert answer.parsed_calls() == calls
    assert answer.content.strip() == ""
    assert answer.finish_reason == "tool_calls"


@for_families(lambda family: family.thoughts is not None)
@streamed
def test_thoughts(family: Served, stream: bool) -> None:
    answer = said(family, ANSWER, stream=stream)
    assert answer.reasoning.strip() == THOUGHTS
    assert answer.content.strip() == ANSWER


def said(family: Served, text: str, **fields: Any) -> Answer:
    """Return what arrives of a text that the model says, after thoughts where it thinks."""
    thoughts = family.family.thoughts
    if thoughts is not None:
        text = f"{thoughts.before}{THOUGHTS}{thoughts.after}{text}"
        fields["chat_template_kwargs"] = {"enable_thinking": True}
    return family.ask(**family.script(text), max_tokens=600, **fields)


def free(family: Served) -> dict[str, Any]:
    """Let random weights end a format: at temperature 0 they repeat what it lets them repeat, until the limit."""
    return {"temperature": 1, **family.without_blanks}


def thoughts_first(family: Served) -> dict[str, Any]:
    """Let the model end its thoughts: only then decoding enforces a format."""
    thoughts = family.family.thoughts
    assert thoughts is not None
    switch = {"chat_template_kwargs": {"enable_thinking": True}}
    # what ends the thoughts is the last that may be said freely
    return family.script(f"{thoughts.before}{THOUGHTS}{thoughts.after.rstrip()}", ends=False) | switch


def without_thoughts(family: Served) -> dict[str, Any]:
    """Turn thoughts off, or where that is not possible let the model end them."""
    match family.family.entry.thinking:
        case "never":
            return {}
        case "always":
            return thoughts_first(family)
    return {"chat_template_kwargs": {"enable_thinking": False}}


def assert_report(answer: Answer) -> None:
    report = json.loads(answer.content)
    assert report.keys() == {"city", "days"}
    assert report["city"] in ("Paris", "Oslo")
    assert 0 <= report["days"] <= 99
    assert answer.finish_reason == "stop"
