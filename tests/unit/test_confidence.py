from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.confidence import LOWEST, TokenLogprob, features, log_odds, read_logprobs

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["content", "logprob", "token", "bytes", "top_logprobs", "tokens"]), inner)
    ),
    max_leaves=10,
)


def tokens(*pairs: tuple[str, float]) -> list[TokenLogprob]:
    return [TokenLogprob(text.encode(), logprob) for text, logprob in pairs]


def test_features_of_free_text() -> None:
    found = features(
        [TokenLogprob(b"Par", -0.5, (-1.5, -3.0)), TokenLogprob(b"is", -0.1, (-0.05,)), TokenLogprob(b".", -0.3)]
    )
    assert found is not None
    assert (found.tokens, found.least, found.low) == (3, -0.5, -0.5)
    assert found.total == pytest.approx(-0.9)
    assert found.mean == pytest.approx(-0.3)
    assert found.margin == pytest.approx(-0.05)  # "is" was not the likeliest
    assert found.entropy is not None
    assert found.entropy > 0
    assert found.fields == {}
    assert features([]) is None


def test_the_low_quantile_passes_over_a_single_outlier_among_many() -> None:
    found = features(tokens(*(("x", -0.01 * n) for n in range(40)), ("y", -9.0)))
    assert found is not None
    assert [found.least, found.low] == pytest.approx([-9.0, -0.36])


def test_entropy_of_a_fair_coin() -> None:
    half = math.log(0.5)
    found = features([TokenLogprob(b"heads", half, (half,))])
    assert found is not None
    assert found.entropy == pytest.approx(math.log(2))
    assert found.margin == 0.0


def test_of_a_structured_answer_only_values_count() -> None:
    answer = tokens(
        ('{"', -5.0), ("city", -5.0), ('": "', -5.0), ("Par", -0.25), ("is", -0.5), ('",', -1.0), (' "n": ', -5.0),
        ("4", -2.0), ("2", -4.0), ("}", -8.0),
    )  # fmt: skip
    found = features(answer, structured=True)
    assert found is not None
    # the quote that ends a string and the bracket that ends a number say that no more follows
    assert found.fields == {"/city": -1.75, "/n": -14.0}
    assert (found.tokens, found.total) == (6, -15.75)


def test_a_token_of_two_values_counts_once() -> None:
    found = features(tokens(("[1,2", -1.0), ("]", -2.0)), structured=True)
    assert found is not None
    assert found.fields == {"/0": -1.0, "/1": -3.0}
    assert found.total == -3.0


def test_nested_fields_have_pointers() -> None:
    text = '{"a/b": [{"x~": true}, null], "": {"é": -1.5e3}}'
    found = features(tokens(*((char, -1.0) for char in text)), structured=True)
    assert found is not None
    assert set(found.fields) == {"/a~1b/0/x~0", "/a~1b/1", "//é"}
    assert found.fields["/a~1b/1"] == -4.0


def test_a_tool_call_is_found_in_its_envelope() -> None:
    arguments = '{"city": "Rome"}'
    answer = tokens(("<tool_call>", -1.0), ('{"name": "', -1.0), ("weather", -0.5), ('", "arguments": ', -1.0),
                    ('{"city": "', -1.0), ("Rome", -0.25), ('"}', -0.125), ("}</tool_call>", -1.0))  # fmt: skip
    alone = features(answer, arguments, structured=True)
    assert alone is not None
    assert alone.fields == {"/city": -0.375}
    rewritten = features(answer, '{"city":"Rome"}', structured=True)
    assert rewritten is not None
    assert rewritten.fields == {"/name": -1.5, "/arguments/city": -0.375}


def test_calls_in_a_row_add_up() -> None:
    found = features(
        tokens(('{"a": ', -1.0), ("1", -2.0), ("}\n", -1.0), ('{"a": ', -1.0), ("1", -4.0), ("}", -1.0)),
        structured=True,
    )
    assert found is not None
    assert found.fields == {"/a": -8.0}


def test_without_values_every_token_counts() -> None:
    found = features(tokens(("{", -1.0), ("}", -2.0)), structured=True)
    assert found is not None
    assert (found.tokens, found.total, found.fields) == (2, -3.0, {})


def test_characters_cut_by_tokens() -> None:
    raw = '{"n": "漢"}'.encode()
    found = features([TokenLogprob(bytes([byte]), -1.0) for byte in raw], structured=True)
    assert found is not None
    assert found.fields == {"/n": -4.0}


@given(VALUES, st.data())
def test_every_value_of_any_json_is_found(value: Any, data: st.DataObject) -> None:
    wrapped = {"v": value}
    raw = json.dumps(wrapped, ensure_ascii=data.draw(st.booleans())).encode(errors="replace")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=12)) | {0, len(raw)})
    answer = [TokenLogprob(raw[a:b], -1.0) for a, b in pairwise(cuts)]
    found = features(answer, structured=True)
    assert found is not None
    assert set(found.fields) == set(_pointers(wrapped, ""))


def _pointers(value: Any, at: str) -> list[str]:
    if isinstance(value, dict):
        parts = [(name.replace("~", "~0").replace("/", "~1"), part) for name, part in value.items()]
    elif isinstance(value, list):
        parts = [(str(place), part) for place, part in enumerate(value)]
    else:
        return [at]
    return [pointer for name, part in parts for pointer in _pointers(part, f"{at}/{name}")]


@given(
    st.lists(st.tuples(st.binary(max_size=4) | st.sampled_from([b'{"', b'":', b"[", b"]", b"}", b",", b"1"]), NUMBERS)),
    st.text(),
)
def test_features_of_anything_are_finite(pairs: list[tuple[bytes, float]], text: str) -> None:
    answer = [TokenLogprob(part, logprob, (logprob, -1.0)) for part, logprob in pairs]
    for structured in (False, True):
        found = features(answer, text, structured=structured)
        assert (found is None) == (not pairs)
        if found is not None:
            assert all(
                map(
                    math.isfinite,
                    (found.total, found.mean, found.low, found.least, found.score, *found.fields.values()),
                )
            )
            assert LOWEST <= found.least <= found.low <= 0


def test_log_odds() -> None:
    assert log_odds(math.log(0.5)) == pytest.approx(0.0)
    assert log_odds(math.log(0.9)) == pytest.approx(math.log(9))
    assert log_odds(-math.inf) == LOWEST
    assert log_odds(0.0) == log_odds(-1e-9) > 13


def test_reads_a_chat_answer() -> None:
    top = [{"token": "é", "bytes": [195, 169], "logprob": -0.5}, {"token": "e", "logprob": -1.5}, {"token": "x"}]
    choice = {
        "logprobs": {
            "content": [
                {"token": "é", "bytes": [195, 169], "logprob": -0.5, "top_logprobs": top},
                {"token": "!", "logprob": -9999.0},
            ]
        }
    }
    assert read_logprobs(choice) == (TokenLogprob("é".encode(), -0.5, (-1.5,)), TokenLogprob(b"!", -9999.0))


def test_reads_a_completion() -> None:
    said = {"tokens": ["a", "b"], "token_logprobs": [None, -1.0], "top_logprobs": [None, {"b": -1.0, "c": -2.0}]}
    assert read_logprobs({"logprobs": said}) == (TokenLogprob(b"b", -1.0, (-2.0,)),)


@given(st.fixed_dictionaries({"logprobs": ANYTHING}) | ANYTHING)
def test_reads_whatever_an_upstream_sends(choice: object) -> None:
    read = read_logprobs(choice)
    assert (features(read, structured=True) is None) == (not read)


def test_a_number_beyond_a_double_is_the_lowest() -> None:
    found = features(read_logprobs({"logprobs": {"content": [{"token": "a", "logprob": -(10**400)}]}}))
    assert found is not None
    assert found.total == LOWEST
