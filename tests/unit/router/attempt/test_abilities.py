"""What a call asks of a model beside plain text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.attempt.abilities import needs
from router.messages.chat import CHAT
from router.types import ChatCall

TOOL = {"type": "function", "function": {"name": "f"}}


def of(**body):
    return needs(ChatCall(CHAT, "auto", {"messages": []} | body, fields={}, size=0))


def parts(*kinds):
    return [{"role": "user", "content": [{"type": kind} for kind in kinds]}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, set()),
        ({"messages": [{"role": "user", "content": "hi"}]}, set()),
        ({"tools": [TOOL]}, {"tools"}),
        ({"tools": [TOOL], "tool_choice": "none"}, set()),
        ({"tools": []}, set()),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"functions": [{"name": "f"}], "function_call": "none"}, set()),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": {"type": "json_object"}}, {"structured"}),
        ({"response_format": {"type": "json_schema"}}, {"structured"}),
        ({"response_format": {"type": "structural_tag"}}, {"structured"}),
        ({"structured_outputs": {"regex": "a"}}, {"structured"}),
        ({"structured_outputs": None}, set()),
        ({"guided_decoding_backend": "xgrammar", "guided_whitespace_pattern": " "}, set()),
        ({"guided_json": {}}, {"structured"}),
        ({"guided_json": None}, set()),
        ({"response_format": {"type": "text"}, "guided_choice": ["a"]}, {"structured"}),
        ({"logprobs": True}, {"logprobs"}),
        ({"logprobs": False}, set()),
        ({"logprobs": None}, set()),
        ({"logprobs": 0}, {"logprobs"}),
        ({"messages": parts("text", "image_url")}, {"image"}),
        ({"messages": parts("input_audio", "file")}, {"audio", "file"}),
        ({"modalities": ["text"]}, set()),
        ({"modalities": ["text", "audio"]}, {"audio"}),
        ({"tools": [TOOL], "logprobs": True, "messages": parts("image_url")}, {"tools", "logprobs", "image"}),
    ],
)
def test_needs(body, expected):
    assert of(**body) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
FIELDS = ["tools", "tool_choice", "functions", "function_call", "response_format", "logprobs", "modalities"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_fields_that_nobody_validated_do_no_harm(body):
    assert of(**body) <= {"tools", "structured", "logprobs", "image", "audio", "file"}
