from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import UpstreamRejected
from router.profile.adaptation import Adaptation
from router.profile.refusal import ESSENTIAL, proposals
from router.profile.schema_forms import digest

QUESTION = [{"role": "user", "content": "Where?"}]
HISTORY = [
    {"role": "developer", "content": "Be brief."},
    *QUESTION,
    {"role": "assistant", "content": "Here.", "reasoning_content": "Hm.", "annotations": [], "name": "me"},
]


def first(message: str, fields: dict[str, Any], param: str | None = None, code: str | None = None) -> list[str]:
    error = UpstreamRejected(400, {"message": message, "param": param, "code": code})
    found = next(proposals(error, {"model": "m", "messages": QUESTION, **fields}), ())
    return [one.text for one in found]


@pytest.mark.parametrize(
    ("message", "fields", "found"),
    [
        ("Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
         "supported.",
         {"temperature": 0}, ["temperature=dropped"]),
        ("`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
         {"temperature": 0, "top_p": 1}, ["top_p=dropped"]),
        ("Model grok-4 does not support parameter presencePenalty.", {"presence_penalty": 1},
         ["presence_penalty=dropped"]),
        ("suffix is not currently supported", {"suffix": "x"}, []),
        ("Argument not supported on this model: stop", {"stop": ["x"]}, ["stop=dropped"]),
        ("Extra inputs are not permitted, field: 'store', value: True", {"store": True}, ["store=dropped"]),
        ("Malformed input request: #: extraneous key [seed] is not permitted", {"seed": 1}, ["seed=dropped"]),
        ("Unrecognized request arguments supplied: logprobs, top_logprobs", {"logprobs": True, "top_logprobs": 2},
         ["logprobs=dropped", "top_logprobs=dropped"]),
        ("'metadata' is only allowed when 'store' is enabled.", {"metadata": {}}, ["metadata=dropped"]),
        ("max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens", {"max_tokens": 32000},
         ["max_tokens<=8192"]),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", {"max_tokens": 9000},
         ["max_tokens<=8192"]),
        ("temperature must be between 0 and 1", {"temperature": 1.5}, ["temperature<=1"]),
        ("temperature: range: 0..1", {"temperature": 1.5}, ["temperature<=1"]),
        ("`max_tokens` must be less than or equal to `8192`", {"max_tokens": 9000}, ["max_tokens<=8192"]),
        ("messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'", {"messages": HISTORY},
         ["wants call_ids_40"]),
        ("tools.0.function.strict: Extra inputs are not permitted",
         {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
         ["tools.*.function.strict=dropped"]),
        ("top_logprobs must be less than or equal to 5", {"top_logprobs": 20}, ["top_logprobs<=5"]),
        ("'developer' is not one of ['system', 'assistant', 'user', 'tool', 'function'] - 'messages.0.role'",
         {"messages": HISTORY}, ["wants no_developer"]),
        ("property 'reasoning_content' is unsupported, did you mean 'role'?", {"messages": HISTORY},
         ["messages.*.reasoning_content=dropped"]),
        ("property 'annotations' is unsupported", {"messages": HISTORY}, ["messages.*.annotations=dropped"]),
        ("System message must be at the beginning.", {}, ["wants system_first"]),
        ("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...", {},
         ["wants alternating_roles"]),
        ("O-series models don't support temperature=0.1. Only temperature=1 is supported.",
         {"temperature": 0.1, "stop": "x"}, ["temperature=dropped"]),
        ("\u53c2\u6570 seed \u4e0d\u652f\u6301", {"seed": 1, "stop": "x"}, ["seed=dropped"]),
        ("Something else entirely.", {"temperature": 1, "stop": "x"}, []),
        ("Please do not stop. The user should name a seed.", {"stop": "x", "user": "u", "seed": 1}, []),
        ("The model is not available in your region.", {"temperature": 1}, []),
    ],
)  # fmt: skip
def test_what_vendors_say(message: str, fields: dict[str, Any], found: list[str]) -> None:
    assert first(message, fields) == found


@pytest.mark.parametrize(
    ("param", "found"),
    [
        ("messages[2].reasoning_content", ["messages.*.reasoning_content=dropped"]),
        ("messages.2.assistant.reasoning_content", ["messages.*.reasoning_content=dropped"]),
        ("body.messages.2.name", ["messages.*.name=dropped"]),
        ("messages", []),
    ],
)
def test_the_param_names_a_field_of_a_message(param: str, found: list[str]) -> None:
    assert first("Extra inputs are not permitted", {"messages": HISTORY}, param) == found


def test_a_value_that_is_refused_is_not_the_field() -> None:
    words = "Unsupported value: 'verbosity' does not support 'low' with this model."
    assert first(words, {"verbosity": "low"}, "verbosity", "unsupported_value") == ["verbosity=low is dropped"]


def test_a_field_that_has_another_name_is_renamed_before_it_is_dropped() -> None:
    error = UpstreamRejected(400, {"message": "Unsupported parameter: 'max_tokens'", "param": "max_tokens"})
    found = [*proposals(error, {"model": "m", "messages": QUESTION, "max_tokens": 5})]
    assert found == [
        (Adaptation("renames", "max_tokens", "max_completion_tokens"),),
        (Adaptation("refuses", "max_tokens"),),
    ]


def test_the_details_name_the_field_where_the_message_does_not() -> None:
    error = UpstreamRejected(400, {"message": "Invalid.", "details": [{"fieldViolations": [{"field": "seed"}]}]})
    assert [*proposals(error, {"seed": 1, "stop": "x"})] == [(Adaptation("refuses", "seed"),)]


def test_of_several_tools_the_one_with_what_is_refused_is_meant() -> None:
    def tool(name: str, **value: Any) -> dict[str, Any]:
        parameters = {"type": "object", "properties": {"a": {"type": "string", **value}}}
        return {"type": "function", "function": {"name": name, "parameters": parameters}}

    tools = [tool("plain"), tool("short", maxLength=9), tool("ahead", pattern="(?=a)b")]
    digests = [digest(one["function"]["parameters"]) for one in tools]
    for message, meant in (("Grammar: lookahead unsupported", 2), ("The schema's maxLength is too much", 1)):
        assert first(message, {"tools": tools}) == [f"schema {digests[meant]}=unenforced"]


def test_one_answer_is_what_is_asked_for_without_n() -> None:
    words = "property 'n' is unsupported"
    assert first(words, {"n": 1}) == ["n=1 is dropped"]
    assert first(words, {"n": 2}) == []


NAMES = st.sampled_from(
    ["temperature", "max_tokens", "tools", "messages", "model", "n", "stop", "stream", "response_format"]
)


@given(st.text() | NAMES, st.none() | NAMES, st.dictionaries(NAMES, st.none() | st.integers() | st.text(max_size=3)))
def test_any_refusal_can_be_read_and_nothing_essential_is_dropped(
    message: str, param: str | None, fields: dict[str, Any]
) -> None:
    fields = {name: value for name, value in fields.items() if name not in ("messages", "tools")}
    error = UpstreamRejected(400, {"message": message, "param": param})
    for proposal in proposals(error, {"model": "m", "messages": QUESTION, **fields}):
        for one in proposal:
            assert one.kind != "refuses" or one.what not in ESSENTIAL
