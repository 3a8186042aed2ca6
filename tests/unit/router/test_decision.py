from __future__ import annotations

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decision import MAX_ANSWER_LOGPROB, MIN_ANSWER_LOGPROB, Confidence, Judgement, log_odds


def test_a_confidence_s_score_is_the_log_odds_of_the_whole_answer() -> None:
    one = Confidence(tokens=4, total=log(0.9), mean=log(0.9) / 4, low=-1.0, least=-3.0)
    assert one.score == pytest.approx(log(9))


@given(st.floats(-700, MAX_ANSWER_LOGPROB))
def test_log_odds_give_the_probability_back(logprob: float) -> None:
    assert 1 / (1 + exp(-log_odds(logprob))) == pytest.approx(exp(logprob))


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_what_is_likelier_never_scores_lower_and_every_score_is_finite(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert MIN_ANSWER_LOGPROB <= log_odds(low) <= log_odds(high) < 14


@pytest.mark.parametrize(("gain", "probability"), [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0), (-0.5, 1.0), (1.5, 0.0)])
def test_the_probability_of_a_good_answer_is_what_the_fallback_cannot_gain(gain: float, probability: float) -> None:
    assert Judgement("slm", None, gain, 0.2, accepted=False).probability == probability
