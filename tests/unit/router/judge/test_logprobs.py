from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.judge.features import Alternative, TokenLogprob, features
from router.judge.logprobs import (
    client_wants_logprobs,
    read_logprobs,
    tokens_of,
    tokens_of_event,
    with_logprobs,
    without_logprobs,
)
from tests.support.fakes import call

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "logprobs", "content", "logprob", "token", "bytes", "top_logprobs", "tokens", "index"]
            ),
            inner,
        )
    ),
    max_leaves=10,
)
TOLD = {"content": [{"token": "é", "bytes": [195, 169], "logprob": -0.5, "top_logprobs": []}]}
COMPLETION = {"tokens": ["a", "b"], "token_logprobs": [-2, -1.0], "top_logprobs": [None, {"b": -1.0, "c": -2.0}]}


def completion(**fields: Any) -> Any:
    return call(endpoint="completions", prompt="Once", messages=None, **fields)


def answer(*logprobs: Any, **choice: Any) -> bytes:
    choices = [{"index": index, "logprobs": told, **choice} for index, told in enumerate(logprobs)]
    return json.dumps({"id": "x", "choices": choices, "usage": {"prompt_tokens": 1}}).encode()


def test_logprobs_are_asked_for_where_the_client_did_not() -> None:
    for fields in ({}, {"logprobs": None}, {"logprobs": False, "top_logprobs": None}):
        asked = with_logprobs(call(**fields))
        for told in (asked.body, asked.fields):
            assert told["logprobs"] is True
            assert "top_logprobs" not in told
    assert with_logprobs(completion()).fields["logprobs"] == 1


@pytest.mark.parametrize(
    "asks",
    [call(logprobs=True), call(logprobs=True, top_logprobs=5), completion(logprobs=0), completion(logprobs=5)],
)
def test_what_the_client_asks_for_stays(asks: Any) -> None:
    assert client_wants_logprobs(asks)
    assert with_logprobs(asks) is asks


def test_a_client_that_asks_for_none_is_not_one_that_asks() -> None:
    assert not any(map(client_wants_logprobs, (call(), call(logprobs=False), completion(logprobs=None))))


def test_a_completion_that_echoes_its_prompt_is_not_asked() -> None:
    echoing = completion(echo=True)
    assert with_logprobs(echoing) is echoing


def test_reads_whole_chat_answers() -> None:
    top = [{"token": "é", "bytes": [195, 169], "logprob": -0.5}, {"token": "e", "bytes": [101], "logprob": -1.5}]
    body = answer({"content": [TOLD["content"][0] | {"top_logprobs": top}, {"token": "!", "logprob": -9999}]}, None)
    first, second = tokens_of(body)
    assert first == (
        TokenLogprob("é", -0.5, (195, 169), (Alternative("é", -0.5), Alternative("e", -1.5))),
        TokenLogprob("!", -9999.0),
    )
    assert first[0].others == [-1.5]
    assert second == ()


def test_reads_whole_completions() -> None:
    assert tokens_of(answer(COMPLETION)) == [
        (TokenLogprob("a", -2.0), TokenLogprob("b", -1.0, None, (Alternative("b", -1.0), Alternative("c", -2.0))))
    ]


def test_reads_events_of_streams() -> None:
    assert tokens_of_event(answer(TOLD, None, COMPLETION)) == [
        (0, (TokenLogprob("é", -0.5, (195, 169)),)),
        (2, tokens_of(answer(COMPLETION))[0]),
    ]
    assert tokens_of_event(b'{"choices": [], "usage": {}}') == []


@pytest.mark.parametrize(
    "partly",
    [
        {"content": [{"token": "a", "logprob": None}, {"token": "b", "logprob": -1}]},
        {"content": [{"token": "a"}, {"token": "b", "logprob": -1}]},
        {"content": [{"token": "a", "logprob": -1, "bytes": [256]}]},
        {"tokens": ["an echoed", "prompt"], "token_logprobs": [None, -1.0]},
        {"tokens": ["a", "b"], "token_logprobs": [-1.0]},
        {"content": [{"token": "a", "logprob": 0.9}]},
        {"content": "none"},
        [],
    ],
)
def test_an_answer_that_is_told_in_part_is_not_known(partly: Any) -> None:
    assert not any(tokens_of(answer(partly)))
    assert tokens_of_event(answer(partly)) is None
    assert read_logprobs({"logprobs": partly}) == ()


@given(ANYTHING)
def test_bytes_and_objects_are_read_alike(choice: Any) -> None:
    body = msgspec.json.encode({"choices": [choice]})
    said = json.loads(body)["choices"][0]  # JSON has no infinities
    read = read_logprobs(said)
    assert [tokens for tokens in tokens_of(body) if tokens] == [read] * bool(read)
    assert (features(read, structured=True) is None) == (not read)


@given(ANYTHING.map(json.dumps).map(str.encode) | st.binary())
def test_whatever_an_upstream_sends_is_read_and_stripped(sent: bytes) -> None:
    tokens_of(sent)
    tokens_of_event(sent)
    again = without_logprobs(sent)
    assert without_logprobs(again) == again


RAW = st.sampled_from(
    [b"1.50", b"1e400", b'"\\u00e9\\/"', '"é"'.encode(), b'{ "b" : [1 , 2],"b":3}', b"[ ]", b"null", b'"\xff"', b"-0"]
)
NAMES = st.sampled_from(["id", "index", "message", "delta", "text", "finish_reason", "usage", "prompt_logprobs"])
LOGPROBS = st.sampled_from(
    [b"null", b"{}", b'{"content": []}', json.dumps(TOLD).encode(), json.dumps(COMPLETION).encode()]
)


def written(fields: dict[str, bytes]) -> bytes:
    return b"{" + b" , ".join(b'"%b": %b' % (name.encode(), value) for name, value in fields.items()) + b"}"


@given(
    st.dictionaries(NAMES, RAW),
    st.lists(st.tuples(st.dictionaries(NAMES, RAW), LOGPROBS | st.none()), max_size=3),
)
def test_only_logprobs_are_taken_out_and_all_else_stays_as_it_was_written(
    top: dict[str, bytes], choices: list[tuple[dict[str, bytes], bytes | None]]
) -> None:
    each = [written(fields | ({} if told is None else {"logprobs": told})) for fields, told in choices]
    sent = written(top | {"choices": b"[" + b", ".join(each) + b"]"})
    left = without_logprobs(sent)
    if all(told in (None, b"null") for _, told in choices):
        assert left is sent
    raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
    whole = {name: bytes(value) for name, value in raw.decode(left).items()}
    parts = msgspec.json.decode(whole.pop("choices"), type=list[dict[str, msgspec.Raw]])
    assert whole == top
    for part, (fields, told) in zip(parts, choices, strict=True):
        expected = fields if told is None else fields | {"logprobs": b"null"}
        assert {name: bytes(value) for name, value in part.items()} == expected


@pytest.mark.parametrize("unread", [b"", b"[DONE]", b"{}", b"[]", b'{"choices": null}', b'{"choices": [1]}', b'{"a": '])
def test_what_is_no_answer_comes_back_as_it_is(unread: bytes) -> None:
    assert without_logprobs(unread) is unread
