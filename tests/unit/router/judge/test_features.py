from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decision import MIN_ANSWER_LOGPROB, log_odds
from router.judge.features import MAX_DEPTH, MIN_LOGPROB, Alternative, TokenLogprob, features, least_confident

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def tokens(*pairs: tuple[str, float]) -> list[TokenLogprob]:
    return [TokenLogprob(text, logprob) for text, logprob in pairs]


def token(text: str, logprob: float, *others: Any) -> TokenLogprob:
    tops = tuple(Alternative(*other) for other in zip(others[::2], others[1::2], strict=True))
    return TokenLogprob(text, logprob, top_logprobs=tops)


def test_features_of_free_text() -> None:
    found = features([token("Par", -0.5, "Lon", -1.5, "Par", -0.5), token("is", -0.1, "as", -0.05), token(".", -0.3)])
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
    found = features([token("heads", half, "tails", half)])
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


def test_of_a_call_the_name_counts_too() -> None:
    answer = tokens(("<tool_call>", -1.0), ('{"name": "', -1.0), ("weather", -0.5), ('", "arguments": ', -1.0),
                    ('{"city": "', -1.0), ("Rome", -0.25), ('"}', -0.125), ("}</tool_call>", -1.0))  # fmt: skip
    found = features(answer, structured=True)
    assert found is not None
    assert found.fields == {"/name": -1.5, "/arguments/city": -0.375}


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
    found = features([TokenLogprob("\ufffd", -1.0, (byte,)) for byte in raw], structured=True)
    assert found is not None
    assert found.fields == {"/n": -4.0}


@given(VALUES, st.data())
def test_every_value_of_any_json_is_found(value: Any, data: st.DataObject) -> None:
    wrapped = {"v": value}
    raw = json.dumps(wrapped, ensure_ascii=data.draw(st.booleans())).encode(errors="replace")
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=12)) | {0, len(raw)})
    answer = [TokenLogprob("", -1.0, tuple(raw[a:b])) for a, b in pairwise(cuts)]
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
    st.lists(
        st.tuples(st.binary(max_size=4) | st.sampled_from([b'{"', b'":', b"[", b"]", b"}", b",", b"1", b"\\"]), NUMBERS)
    )
)
def test_features_of_anything_are_finite(pairs: list[tuple[bytes, float]]) -> None:
    answer = [TokenLogprob("", logprob, tuple(part), (Alternative("x", -1.0),)) for part, logprob in pairs]
    for structured in (False, True):
        found = features(answer, structured=structured)
        assert (found is None) == (not pairs)
        if found is not None:
            told = (found.total, found.mean, found.low, found.least, found.score, *found.fields.values())
            assert all(map(math.isfinite, told))
            assert MIN_LOGPROB <= found.least <= found.low <= 0
            assert found.tokens <= len(pairs)


def test_what_is_cut_counts_as_far_as_it_came() -> None:
    found = features(tokens(('{"a": ', -1.0), ("1", -2.0), (', "b": "x', -4.0), (', "c', -8.0)), structured=True)
    assert found is not None
    assert found.fields == {"/a": -6.0, "/b": -12.0}
    unread = features(tokens(('{"a": 1,', -1.0), (' "b', -2.0)), structured=True)
    assert unread is not None
    assert unread.fields == {"/a": -1.0}


def test_pointers_do_not_grow_without_end() -> None:
    found = features(tokens(*(("[", -1.0) for _ in range(5_000)), ("1", -2.0)), structured=True)
    assert found is not None
    assert [len(path) <= 2 * MAX_DEPTH for path in found.fields] == [True]


@pytest.mark.parametrize("part", ['"', "\\", '"a', "[", "{", '{"', '{"a":', " ", "[1,", '"\\"', "-", "1", '{"a" '])
def test_a_hostile_answer_takes_no_longer_than_its_length(part: str) -> None:
    assert features([TokenLogprob(part * 100_000, -1.0)], structured=True) is not None
    assert features([TokenLogprob("[" + part * 100_000, -1.0)], structured=True) is not None


def test_several_choices_are_as_sure_as_the_least_sure_one() -> None:
    sure, unsure = features(tokens(("a", -0.1))), features(tokens(("b", -0.2)))
    assert least_confident([sure, unsure]) is unsure
    assert least_confident([sure, None]) is None
    assert least_confident([]) is None


def test_log_odds() -> None:
    assert log_odds(math.log(0.5)) == pytest.approx(0.0)
    assert log_odds(math.log(0.9)) == pytest.approx(math.log(9))
    assert log_odds(-math.inf) == MIN_ANSWER_LOGPROB
    assert log_odds(-400.0) < log_odds(-150.0), "of long texts, too"
    assert log_odds(0.0) == log_odds(-1e-9) > 13
