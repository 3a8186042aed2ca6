from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.learning.fingerprint import fingerprint, line_labels, mask_variables
from tests.support.fakes import call

ADJECTIVES = ["short", "long", "loud"]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {}, "unit": {}}}},
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def of(system: str | None = None, user: Any = "Hello", **fields: Any) -> str:
    messages = [{"role": "system", "content": system}] if system is not None else []
    return fingerprint(call(messages=[*messages, {"role": "user", "content": user}], **fields))


def schema(**properties: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": properties}}}


def test_a_template_is_one_task_whatever_is_asked() -> None:
    assert of("Extract the invoice.", "Invoice 17 ...") == of("Extract the invoice.", "Invoice\n\nTotal: 3")
    assert of("Extract the invoice.") != of("Extract the order.")
    assert of("Extract the invoice.") != of()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Today is Monday, March 3, 2026.", "Today is Friday, May 29, 2027."),
        ("It is 2026-03-03T10:00:00 now.", "It is 2025-12-24T00:30:59 now."),
        ("You serve order 8812 of ann@example.com.", "You serve order 7 of bob.b@mail.example.org."),
        ("Session 9f8b6c1e-1111-4222-8333-944455556666.", "Session 00000000-aaaa-4bbb-8ccc-dddddddddddd."),
        ("See https://a.example/x?y=1 first.", "See http://b.example first."),
        ("Help.\nCurrent date: today\nUser name: Ann Lee\n", "Help.\nCurrent date: tomorrow\nUser name: Bob"),
        ("Answer from <context>\nParis is old.\n</context> only.", "Answer from <context>Rome.</context> only."),
        ("Be  brief.\n", "Be brief."),
    ],
)
def test_what_varies_is_masked(one: str, other: str) -> None:
    assert mask_variables(one) == mask_variables(other)
    assert of(one) == of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Answer yes or no.", "Answer A or B."),
        ("Name: extractor", "Name: summarizer"),
        ("You may call tools.", "You must call tools."),
        ("<context>", "</context>"),
    ],
)
def test_what_tells_tasks_apart_is_kept(one: str, other: str) -> None:
    assert of(one) != of(other)


def test_tools_in_any_order() -> None:
    assert of(tools=[WEATHER, CLOCK]) == of(tools=[CLOCK, WEATHER])
    assert len({of(), of(tools=[WEATHER]), of(tools=[CLOCK]), of(tools=[CLOCK, WEATHER])}) == 4
    described = WEATHER | {"function": WEATHER["function"] | {"description": "It is Monday."}}  # type: ignore[operator]
    assert of(tools=[described]) == of(tools=[WEATHER])


def test_schemas_with_keys_in_any_order() -> None:
    one, other = schema(a={"type": "string"}, b={}), schema(b={}, a={"type": "string"})
    assert of(response_format=one) == of(response_format=other) != of(response_format=schema(a={}))
    assert of(response_format={"type": "text"}) == of()
    assert of(guided_choice=["a", "b"]) != of()


def test_routes_keep_apart() -> None:
    assert of("x", model="auto") != of("x", model="other")


def test_the_clients_own_word_is_believed() -> None:
    calls = [call(messages=[{"role": "user", "content": text}]) for text in ("a", "Question: b")]
    assert {fingerprint(one, "triage") for one in calls} == {"auto/task:triage"}


def test_without_a_system_prompt_the_form_of_the_prompt_tells() -> None:
    quiz = "Find x in Z_3.\nA. 0\nB. 4\nC. 2\nAnswer:"
    assert line_labels(quiz) == ["_.", "Answer:"]
    assert of(user=quiz) == of(user="Who was first?\nA. Ann\nB. Bob\nC. Cy\nD. Di\nAnswer:")
    assert of(user=quiz) != of(user="Question: Who was first?\n\nAnswer: ")
    assert of(user="How many eggs are left?") == of(user="Yesterday was Sunday. What is today?")
    assert of(user=[{"type": "text", "text": quiz}]) == of(user=quiz)
    completion = [call(endpoint="completions", prompt=text, messages=None) for text in (quiz, quiz + " A", "Hello")]
    assert len(set(map(fingerprint, completion))) == 2


def test_only_the_first_question_of_a_conversation_counts() -> None:
    first: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
    later = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Question: x\nAnswer:"}]
    assert fingerprint(call(messages=first)) == fingerprint(call(messages=first + later))


def test_the_same_in_every_process() -> None:
    assert of("Extract the invoice of March 3, 2026.", tools=[WEATHER]) == "auto/65056fe4e2979af0"


@given(st.text(), st.text(), st.lists(st.sampled_from([WEATHER, CLOCK, {"type": "function"}, "x"])))
def test_any_call_has_a_name(system: str, user: str, tools: list[Any]) -> None:
    name = of(system, user, tools=tools)
    assert name == of(system, user + "!", tools=tools[::-1]) if system else name
    assert json.loads(json.dumps(name)) == name
    assert len(name) < 40


@given(st.integers(0, 10**6), st.sampled_from(ADJECTIVES))
def test_filled_templates_meet_again(seed: int, adjective: str) -> None:
    rng = random.Random(seed)
    today = f"{rng.randint(1, 28)} May {rng.randint(1990, 2030)}"
    filled = f"You write {adjective} answers.\nUser id: {rng.random()}\nToday is {today}."
    assert of(filled) == of(f"You write {adjective} answers.\nUser id: 7\nToday is 1 May 2026.")


@pytest.mark.parametrize(
    "part", ["<context>", "a-", "a@", "a.", " ", "\n ", "A", "http://", "0f-", "user's ", "</env><env>"]
)
def test_a_hostile_prompt_takes_no_longer_than_its_length(part: str) -> None:
    long = part * (400_000 // len(part))
    assert of(long, long) != of("x")
    assert of(None, long)
