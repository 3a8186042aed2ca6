"""What is learned of gains: it must be there, and it must be silent about what it does not know."""

from __future__ import annotations

import random
import subprocess
import sys
from statistics import fmean

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.learning.gain import GainModel
from router.learning.ridge import Sparse, ridge_path
from router.learning.text import BUCKETS, MAX_CHARS, MEASURES, extract_features

HARD = ("integral", "theorem", "eigenvalue", "manifold", "lemma")
EASY = ("cat", "dog", "house", "garden", "apple")
FILLER = ("the", "of", "a", "what", "which", "is", "in", "it", "and", "to")


def calls(count: int, seed: int = 0) -> tuple[list[str], list[float]]:
    """Return questions of which those with hard words gain."""
    draw = random.Random(seed)
    texts, gains = [], []
    for place in range(count):
        words = HARD if place % 2 else EASY
        texts.append(" ".join(draw.choices(FILLER, k=12) + draw.choices(words, k=3)) + "?")
        gains.append(float(draw.random() < (0.7 if place % 2 else 0.1)))
    return texts, gains


@pytest.fixture(scope="module")
def model() -> GainModel:
    return GainModel.fit(*calls(300))


def test_it_learns_what_gains(model: GainModel) -> None:
    texts, _ = calls(100, seed=1)
    hard, easy = ([model.gain(text) for text in texts[start::2]] for start in (1, 0))
    assert min(hard) > max(easy)
    assert fmean(hard) == pytest.approx(0.7, abs=0.15)
    assert fmean(easy) == pytest.approx(0.1, abs=0.15)


def test_what_it_would_have_guessed_of_its_own() -> None:
    texts, gains = calls(300)
    model, guesses = GainModel.fit_and_estimate(texts, gains)
    assert model.gain(texts[1]) == pytest.approx(guesses[1].gain, abs=0.1)
    assert min(guess.gain for guess in guesses[1::2]) > max(guess.gain for guess in guesses[::2])
    # had it learned from a text, its guess would be nearer to the truth
    held_out, own = (
        [(one - gain) ** 2 for one, gain in zip(of, gains, strict=True)]
        for of in ([guess.gain for guess in guesses], [model.gain(text) for text in texts])
    )
    assert fmean(held_out) > fmean(own)


def test_it_knows_its_own(model: GainModel) -> None:
    texts, _ = calls(100, seed=1)
    assert fmean(model.estimate(text).support for text in texts) > 0.9


def test_what_was_seen_before_is_not_strange() -> None:
    # each has a number that no other has: word by word, it is better known than any was to the others
    texts, gains = calls(300)
    own = [f"{text} ({place})" for place, text in enumerate(texts)]
    model = GainModel.fit(own, gains)
    assert fmean(model.estimate(text).support for text in own) > 0.9


@pytest.mark.parametrize(
    "strange",
    ["Schreibe ein Gedicht über den Herbst.", "def f(x):\n    return {x: 1}\n" * 5, "integral theorem lemma", ""],
)
def test_about_others_the_prior_speaks(model: GainModel, strange: str) -> None:
    assert model.estimate(strange).support == 0
    assert model.gain(strange) == model.mean + model.prior(extract_features(strange))


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_a_gain_near_the_possible_ones(model: GainModel, text: str) -> None:
    guess = model.estimate(text)
    assert 0 <= guess.support <= 1
    assert -2 < guess.gain < 2
    assert guess == model.estimate(text)


def test_longer_is_harder_where_nothing_is_known() -> None:
    for none in (GainModel(), GainModel.fit([], []), GainModel.fit(["a question", "and another"], [0.0, 1.0])):
        assert none.estimate("Why?").support == 0
        assert (
            none.gain("Why?") < none.gain("Why is that so, and since when?") < none.gain("Why Rome, Paris, Oslo? " * 9)
        )


def test_too_few_of_one_kind() -> None:
    with pytest.raises(ValueError, match="2 texts"):
        GainModel.fit(["a", "b"], [1.0])


@pytest.mark.parametrize("gains", [[0.0] * 40, [1.0] * 40])
def test_gains_that_do_not_differ(gains: list[float]) -> None:
    texts, _ = calls(40)
    assert GainModel.fit(texts, gains).gain(texts[0]) == pytest.approx(gains[0], abs=0.05)


def test_texts_that_do_not_differ() -> None:
    model = GainModel.fit(["the same"] * 40, [0.0, 1.0] * 20)
    assert model.gain("the same") == pytest.approx(0.5)
    assert model.estimate("the same").support == 1


def test_a_model_can_be_kept(model: GainModel) -> None:
    again = msgspec.json.decode(msgspec.json.encode(model), type=GainModel)
    assert again.estimate("what is the integral?") == model.estimate("what is the integral?")


def test_it_is_the_same_in_every_process_and_asking_needs_no_numpy() -> None:
    code = (
        "import sys; from router.learning.gain import extract_features\n"
        "print(sum(extract_features('Which words?').pieces), 'numpy' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    told = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert told == {f"{sum(extract_features('Which words?').pieces)} False\n"}


def test_what_is_seen_of_a_text() -> None:
    seen = extract_features("Is 3.5% of 10 an A, B or C?\nA. yes\nB. no")
    measures = dict(zip(MEASURES, np.expm1(seen.measures), strict=True))
    told = {
        name: round(measures[name]) for name in ("characters", "capitals", "numbers", "symbols", "options", "lines")
    }
    assert told == {"characters": 40, "capitals": 6, "numbers": 2, "symbols": 1, "options": 2, "lines": 2}
    assert sum(seen.words.values()) == pytest.approx(10 + 2 * (1 + np.log(2)))
    assert max([*seen.words, *seen.pieces]) < BUCKETS


def test_a_very_long_text_is_seen_at_its_ends() -> None:
    ends = extract_features("first " + "x" * 10**6 + " last")
    assert len(ends.words) == 3
    assert ends.measures[0] == pytest.approx(np.log1p(10**6 + 11))
    assert max(extract_features("word " * 10**5).words.values()) <= 1 + np.log(MAX_CHARS / 4)


@settings(deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_the_ridge_is_the_one_of_the_normal_equations(count: int, width: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    dense, y = draw.normal(size=(count, width)), draw.normal(size=count)
    use = np.arange(count) != 0 if count > 2 else np.ones(count, dtype=np.bool_)
    x = Sparse([(range(width), line.tolist()) for line in dense], width)
    centre, mean = dense[use].mean(axis=0), y[use].mean()
    for penalty, found in zip((0.5, 5.0), ridge_path(x, y, use, (0.5, 5.0), steps=32), strict=True):
        inside = dense[use] - centre
        weights = np.linalg.solve(inside.T @ inside + penalty * np.eye(width), inside.T @ (y[use] - mean))
        assert found[:-1] == pytest.approx(weights, abs=1e-6)
        assert found[-1] == pytest.approx(mean - centre @ weights, abs=1e-6)
