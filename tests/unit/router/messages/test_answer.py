from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.errors import UpstreamFailed
from router.messages.answer import StreamReader, is_usage_chunk, parse_whole
from router.types import Usage
from tests.support.fakes import chunk, usage_chunk, whole

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
"""also NaN and Infinity, which Python's writer lets through"""


def event(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_a_whole_answer() -> None:
    assert parse_whole(whole("Paris."), 1)["choices"][0]["message"]["content"] == "Paris."


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"\xff\xfe",
        b"[" * 100_000,
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        event(choices=None),
        event(choices=[]),
        event(choices={}),
        event(choices="abc"),
        event(choices=[None]),
        event(choices=[{"message": {"content": "cut"}}]),
        event(choices=[{"finish_reason": None}]),
        event(choices=[{"finish_reason": "stop"}, {"finish_reason": ""}]),
        event(choices=[{"finish_reason": "abort"}]),
        event(choices=[{"finish_reason": "stop"}, {"finish_reason": "error"}]),
        event(choices=[{"finish_reason": "Aborted"}]),
        b'{"choices": [{"finish_reason": "stop", "x": 1e999}]}',
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_whole_answer(body: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        parse_whole(body, 1)


NO_JSON = [
    lambda text: text.replace("7", "NaN").encode(),
    lambda text: text.replace("7", "Infinity").encode(),
    lambda text: text.replace("7", "-Infinity").encode(),
    lambda text: text.encode("utf-16"),
    lambda text: text.encode("utf-16-le"),
    lambda text: text.encode("utf-16-be"),
    lambda text: text.encode("utf-32"),
    lambda text: text.encode("latin-1"),
]
"""what Python's reader takes and a client's does not"""


@pytest.mark.parametrize("spoil", NO_JSON)
def test_what_only_python_reads_is_no_answer(spoil: Callable[[str], bytes]) -> None:
    choice = '{"index": 0, "message": {"content": "\u00e9"}, "finish_reason": "stop", "score": 7}'
    answer = f'{{"choices": [{choice}]}}'
    assert parse_whole(answer.encode(), 1)["choices"][0]["score"] == 7
    with pytest.raises(UpstreamFailed, match="not JSON"):
        parse_whole(spoil(answer), 1)
    event_ = '{"choices": [{"delta": {"content": "\u00e9"}, "score": 7}]}'
    assert StreamReader(1).read(event_.encode())["choices"][0]["score"] == 7
    with pytest.raises(UpstreamFailed, match="not JSON"):
        StreamReader(1).read(spoil(event_))


@pytest.mark.parametrize(("there", "wanted"), [(1, 2), (1, 128), (3, 4)])
def test_fewer_choices_than_asked_for_are_no_answer(there: int, wanted: int) -> None:
    body = event(choices=[{"index": i, "finish_reason": "stop"} for i in range(there)])
    assert len(parse_whole(body, there)["choices"]) == there
    with pytest.raises(UpstreamFailed, match=f"{there} choices instead of {wanted}"):
        parse_whole(body, wanted)
    assert len(parse_whole(body, 1)["choices"]) == there, "more are not its fault"


@given(st.binary(max_size=40) | st.builds(event, choices=JSON, usage=JSON))
def test_a_whole_answer_of_anything(body: bytes) -> None:
    with suppress(UpstreamFailed):
        assert all(choice["finish_reason"] for choice in parse_whole(body, 1)["choices"])


def test_content_begins_with_the_first_that_is_said() -> None:
    reader = StreamReader(1)
    reader.read(chunk("", role="assistant"))
    assert not reader.has_begun
    reader.read(chunk("P"))
    assert reader.has_begun
    assert not reader.finished


@pytest.mark.parametrize(
    ("choice", "content"),
    [
        ({"delta": {}}, False),
        ({"delta": {"role": "assistant"}}, False),
        ({"delta": {"role": "assistant", "content": ""}}, False),
        ({"delta": {"content": None, "tool_calls": None}}, False),
        ({"delta": None}, False),
        ({}, False),
        ({"text": ""}, False),
        ({"delta": {"content": "P"}}, True),
        ({"delta": {"content": " "}}, True),
        ({"delta": {"reasoning_content": "Hm"}}, True),
        ({"delta": {"reasoning": "Hm"}}, True),
        ({"delta": {"refusal": "No"}}, True),
        ({"delta": {"content": None, "tool_calls": [{"index": 0}]}}, True),
        ({"delta": {"function_call": {"name": "f"}}}, True),
        ({"text": "P"}, True),
        ({"delta": {}, "finish_reason": "stop"}, True),  # an empty answer is one
    ],
)
def test_what_counts_as_content(choice: dict[str, Any], content: bool) -> None:
    reader = StreamReader(1)
    reader.read(event(choices=[{"index": 0, **choice}]))
    assert reader.has_begun is content


def test_each_of_n_choices_must_finish() -> None:
    reader = StreamReader(3)
    for index in (0, 2, 2):
        reader.read(chunk(index=index, finish="stop"))
        assert not reader.finished
    reader.read(chunk(index=1, finish="length"))
    assert reader.finished


@pytest.mark.parametrize("event_", [b'{"choices": null}', b'{"id": "x"}', b'{"usage": {"prompt_tokens": 7}}'])
def test_every_event_has_choices_as_client_libraries_expect(event_: bytes) -> None:
    reader = StreamReader(1)
    assert reader.read(event_)["choices"] == []
    assert reader.changed


def test_several_choices_in_one_event() -> None:
    reader = StreamReader(2)
    reader.read(event(choices=[{"index": i, "text": "x", "finish_reason": "stop"} for i in range(2)]))
    assert reader.finished


def test_the_last_usage_counts() -> None:
    reader = StreamReader(1)
    reader.read(event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 1}))
    reader.read(event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 9}))
    reader.read(chunk("x"))
    reader.read(event(choices=[], usage=None))
    reader.read(event(choices=[], usage="junk"))
    assert reader.usage == Usage(prompt=7, completion=9)


@pytest.mark.parametrize(
    "junk", [b"", b"{", b"\xff", b"[DONE", b"null", b"[]", b"7", b'"x"', b"[" * 100_000], ids=lambda b: repr(b[:9])
)
def test_an_event_that_is_no_object(junk: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        StreamReader(1).read(junk)


@pytest.mark.parametrize("choices", [5, "ab", {"0": {}}, [None], [[]], ["x"], [{}, 7]])
def test_choices_that_are_none(choices: object) -> None:
    with pytest.raises(UpstreamFailed, match="choices"):
        StreamReader(1).read(event(choices=choices))


CHOICE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("index", "delta", "finish_reason", "text", "logprobs"), JSON)
)


@example(event(choices=[{"index": [], "finish_reason": "stop"}]))
@example(event(choices=[{"index": {}, "finish_reason": {}}]))
@example(event(choices=[{"delta": "text"}]))
@example(event(choices=[{"delta": ["a"]}], usage=[1]))
@example(event(usage={"prompt_tokens": None, "prompt_tokens_details": []}))
@given(st.builds(event, choices=JSON | st.lists(CHOICE, max_size=3), usage=JSON) | st.binary(max_size=30))
def test_an_upstream_may_send_anything(junk: bytes) -> None:
    reader = StreamReader(1)
    with suppress(UpstreamFailed):
        assert isinstance(reader.read(junk), dict)


@pytest.mark.parametrize(
    ("chunk_", "only"),
    [
        (json.loads(usage_chunk()), True),
        ({"usage": {"prompt_tokens": 1}}, True),
        ({"choices": None, "usage": {"prompt_tokens": 1}}, True),
        ({"choices": [], "usage": None}, False),
        ({"choices": []}, False),
        ({"choices": [{"index": 0}], "usage": {"prompt_tokens": 1}}, False),
    ],
)
def test_only_usage(chunk_: dict[str, Any], only: bool) -> None:
    assert is_usage_chunk(chunk_) is only
