"""What a small model's answers are worth: learned per task, and moved by what the prompt says."""

from __future__ import annotations

import random
import subprocess
import sys
from statistics import fmean

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.decision import Prior
from router.learning.evidence import Evidence, Example

HARD = ("integral", "theorem", "eigenvalue", "manifold", "lemma")
EASY = ("cat", "dog", "house", "garden", "apple")
PLAIN = "What is the lemma cat house theorem in case 31?"


def examples(count: int, seed: int = 0, *, telling: bool = True) -> list[Example]:
    """Return calls of two tasks; `b` gives scores 4 higher for the same chance. Hard words say more (`telling`)."""
    draw, found = random.Random(seed), []
    for n in range(count):
        sure, hard = draw.uniform(-2, 2), draw.random() < 0.5
        chance = 0.5 + 0.2 * sure - (0.25 * (1 if hard else -1) if telling else 0.0)
        words = " ".join(draw.choices(HARD if hard else EASY, k=4))
        task = "ab"[n % 2]
        found.append(
            Example(
                task,
                f"What is the {words} in case {n}?",
                weak=float(draw.random() < chance),
                strong=1.0,
                has_confidence=True,
                score=sure + 4 * (task == "b"),
                first=sure / 2,
                completion_tokens=10 if task == "a" else 50,
            )
        )
    return found


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return Evidence.fit(examples(800), beginning_tokens=8)


def gain(evidence: Evidence, task: str, score: float | None, text: str = PLAIN) -> float:
    return evidence.gain(evidence.prior(task, text), score)


def test_each_task_has_its_own_curve(evidence: Evidence) -> None:
    assert gain(evidence, "a", 0.0) == pytest.approx(gain(evidence, "b", 4.0), abs=0.15)
    assert gain(evidence, "a", 2.0) < 0.4 < gain(evidence, "b", 2.0)


def test_the_surer_the_answer_the_less_is_to_be_gained(evidence: Evidence) -> None:
    for task in ("a", "b", "never seen"):
        gains = [gain(evidence, task, score) for score in (-100.0, -2.0, 0.0, 2.0, 4.0, 50.0, 51.0, 1e300)]
        assert gains == sorted(gains, reverse=True)
        assert len(set(gains)) == len(gains)


def test_the_prompt_says_what_the_confidence_does_not(evidence: Evidence) -> None:
    hard, easy = (f"What is the {words[0]} {words[0]} {words[1]} {words[2]} in case 31?" for words in (HARD, EASY))
    assert gain(evidence, "a", 0.0, hard) > gain(evidence, "a", 0.0, easy) + 0.2
    assert fmean(evidence.prior("a", hard).likely) > fmean(evidence.prior("a", easy).likely) + 0.2
    assert evidence.prompt_gain(hard).gain > evidence.prompt_gain(easy).gain + 0.2


def test_of_a_strange_prompt_only_the_length_counts_and_little(evidence: Evidence) -> None:
    short, long = ("¿Qué?", "¿Por qué? " * 1000)
    assert evidence.prior("a", short).hint < evidence.prior("a", long).hint
    assert max(abs(evidence.prior("a", text).hint) for text in (short, long)) < 0.2


def test_a_prompt_that_says_nothing_is_not_believed() -> None:
    blind = Evidence.fit(examples(400, telling=False))
    assert max(abs(blind.prior(one.task, one.text).hint) for one in examples(50, seed=1)) < 0.1


def test_what_is_likely_is_what_is_found_later(evidence: Evidence) -> None:
    for task in ("a", "b"):
        later = [one for one in examples(400, seed=1) if one.task == task]
        likely = [fmean(evidence.prior(task, one.text).likely) for one in later]
        assert fmean(likely) == pytest.approx(fmean(not one.as_good for one in later), abs=0.12)
        assert len(evidence.prior(task, PLAIN).likely) == 100
        assert evidence.gain(evidence.prior(task, later[0].text), None) == likely[0]


def test_first_tokens_have_curves_of_their_own(evidence: Evidence) -> None:
    prior = evidence.prior("a", PLAIN)
    assert evidence.gain(prior, 1.0, beginning=True) == pytest.approx(evidence.gain(prior, 2.0), abs=0.2)


def test_first_tokens_of_which_nothing_is_known_are_not_believed() -> None:
    for unknown in (Evidence(), Evidence.fit(examples(40)), Evidence.fit([], beginning_tokens=8)):
        assert unknown.gain(unknown.prior("a", PLAIN), 5.0, beginning=True) > 0.9


def test_the_length_of_the_fallbacks_answers(evidence: Evidence) -> None:
    assert (evidence.completion_tokens("a"), evidence.completion_tokens("b")) == (10, 50)
    assert evidence.completion_tokens("never seen") == pytest.approx(30)
    assert Evidence().completion_tokens("a") is None
    assert Evidence.fit([Example("a", PLAIN, 0, 1)]).completion_tokens("a") is None


def test_with_no_evidence_confidences_are_taken_at_their_word() -> None:
    nothing = Evidence.fit([])
    assert nothing.prior("a", PLAIN) == Prior("a")
    assert gain(nothing, "a", 0.0) == pytest.approx(0.5)
    assert gain(nothing, "a", None) == 1.0
    assert gain(nothing, "a", 1e6) < 0.001
    assert gain(nothing, "a", -1e6) > 0.999


def test_answers_without_a_confidence_teach_what_the_prompt_tells() -> None:
    blind = [
        Example(one.task, one.text, one.weak, one.strong, completion_tokens=one.completion_tokens)
        for one in examples(300)
    ]
    evidence = Evidence.fit(blind)
    assert evidence.prior("a", PLAIN).likely == []
    assert evidence.prompt_gain("What is the theorem lemma?").gain > evidence.prompt_gain("What is the cat?").gain


def test_an_answer_with_no_chance_at_all_is_the_least_sure() -> None:
    silent = [Example("a", f"Case {n}", 0, 1, has_confidence=True) for n in range(20)]
    evidence = Evidence.fit(silent + examples(100))
    assert gain(evidence, "a", -100.0) > gain(evidence, "a", -2.0)


@settings(deadline=None, max_examples=25)
@given(st.text(max_size=60), st.sampled_from(["a", "b", "c"]), st.floats(-200, 200), st.booleans())
def test_evidence_can_be_kept(evidence: Evidence, text: str, task: str, score: float, beginning: bool) -> None:
    again = msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence)
    prior = evidence.prior(task, text)
    assert again.prior(task, text) == prior
    assert again.gain(prior, score, beginning=beginning) == evidence.gain(prior, score, beginning=beginning)
    assert again.completion_tokens(task) == evidence.completion_tokens(task)
    assert again.prompt_gain(text) == evidence.prompt_gain(text)


@pytest.mark.parametrize("count", [0, 1, 2, 11, 30])
def test_few_examples(count: int) -> None:
    evidence = Evidence.fit(examples(count), beginning_tokens=8)
    for task in ("a", "never seen"):
        assert -1 <= gain(evidence, task, 0.0) <= 2
        likely = list(evidence.prior(task, PLAIN).likely)
        assert likely == sorted(likely)


def test_asking_needs_no_numpy() -> None:
    code = (
        "import sys; from router.learning.evidence import Evidence; e = Evidence();"
        "e.gain(e.prior('a', 'What?'), 1.0); print('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
