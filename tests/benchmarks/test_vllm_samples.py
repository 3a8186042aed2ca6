"""From answers to figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.common.load import Answer
from benchmarks.vllm.measure import split
from benchmarks.vllm.samples import (
    ABBA,
    Pair,
    Round,
    Sample,
    Workload,
    added_ms,
    busiest_background,
    direct_against_itself,
    ratio,
    repeated_ms,
    sample_of,
    speed,
)
from benchmarks.vllm.targets import TargetName

USAGE = b'{"usage": {"prompt_tokens": 20, "completion_tokens": 5}}'


def sample(target: TargetName, tokens: int, seconds: float) -> Sample:
    return Sample(target, seconds, 1, tokens, 0, 0, None, 0.0, None, (), ())


def round_of(*speeds: int) -> Round:
    return Round(
        Workload(1, 1, 8, False), tuple(sample(target, each, 1.0) for target, each in zip(ABBA, speeds, strict=True))
    )


def test_a_leg_lasts_from_its_first_request_to_its_last_answer() -> None:
    answers = [Answer(200, 1.0, 1.5, 3.5, 5, USAGE, ""), Answer(200, 2.0, 2.25, 4.25, 4, USAGE, "")]
    found = sample_of("gateway", answers, 5, gateway_cpu_s=0.5, client_busy=0.1, others_busy=None)
    assert found.seconds == 3.25
    assert (found.requests, found.tokens, found.events, found.prompt_tokens) == (2, 10, 9, 20)
    assert found.tokens_per_s == pytest.approx(10 / 3.25)
    assert found.first_ms == (500.0, 250.0)
    assert found.gap_ms == (500.0, 500.0), "four gaps in two seconds"


def test_whole_answers_have_no_first_token() -> None:
    found = sample_of(
        "direct", [Answer(200, 1.0, None, 3.0, 0, USAGE, "")], 5, gateway_cpu_s=None, client_busy=0.1, others_busy=None
    )
    assert found.first_ms == found.gap_ms == ()


def test_throughput_is_all_tokens_over_all_seconds() -> None:
    assert speed([sample("direct", 10, 1.0), sample("direct", 10, 4.0)]) == 4.0
    assert ratio([round_of(100, 90, 100, 80), round_of(20, 20, 30, 40)]) == pytest.approx(240 / 240)
    assert ratio([round_of(100, 90, 90, 100)]) == pytest.approx(0.9)


def test_the_direct_target_against_itself() -> None:
    assert direct_against_itself([round_of(100, 1, 1, 80), round_of(50, 1, 1, 75)]) == [0.8, 1.5]


def test_pairs() -> None:
    pairs = [Pair("direct", 10.0, 12.0), Pair("gateway", 11.0, 15.0), Pair("direct", 10.0, 11.0)]
    assert added_ms(pairs) == 2.0
    assert repeated_ms(pairs) == [3.0, -1.0], "gateway 12 then 15; direct 11 then 10"


def test_pairs_that_do_not_alternate_repeat_nothing() -> None:
    assert repeated_ms([Pair("direct", 1.0, 2.0)] * 3) == []


@pytest.mark.parametrize(("total", "parts", "expected"), [(7, 3, [3, 2, 2]), (4, 4, [1, 1, 1, 1]), (8, 1, [8])])
def test_split(total: int, parts: int, expected: list[int]) -> None:
    assert split(total, parts) == expected


def test_the_noise_is_that_of_the_worst_leg() -> None:
    quiet, loud = sample("direct", 1, 1.0), replace(sample("direct", 1, 1.0), others_busy=0.5)
    assert busiest_background([quiet, loud, replace(loud, others_busy=0.25)]) == 0.5
    assert busiest_background([quiet]) is None
