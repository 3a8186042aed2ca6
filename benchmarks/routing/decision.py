"""What does a routing decision cost? `python -m benchmarks.routing.decision`; see benchmarks/README.md.

CPU microseconds of this process for each part of a cascade's decision on one call, and for the whole decision as the
gateway makes it: from the call until the answer is accepted or not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from time import thread_time_ns
from typing import Any, NamedTuple

from msgspec.structs import replace

from benchmarks.common import machine
from benchmarks.common.command import say, say_broken
from benchmarks.common.machine import machine_line
from benchmarks.common.options import whole
from benchmarks.common.report import Renderer, table, write
from benchmarks.routing.decision_calls import RUNGS, SMALL, SampleCall, calls, cascade, evidence, prompts
from router.decision import Confidence, Decision
from router.judge.features import TokenLogprob, features
from router.judge.logprob import LogprobJudge
from router.judge.logprobs import tokens_of, tokens_of_event, with_logprobs, without_logprobs
from router.learning.evidence import Evidence
from router.learning.fingerprint import fingerprint
from router.policy.base import NextAttempt, Situation
from router.policy.cascade import Cascade
from router.types import ChatCall

MOST_US = 150.0
"""limit for a decision without the classifier"""
CALLS, ROUNDS = 50, 40
PACKAGES = ("smallfirst", "msgspec")
CASES = {"JSON": True, "text": False}
"""column -> whether the answer is structured"""
PROMPTS = (500, 8_000)
"""characters of a prompt that the classifier reads"""
SUM = ("decide", "ask for logprobs", "read them", "features", "judge")
DECISION, WITH_JUDGE, STRIP, EVENT = (
    "the decision",
    "as the gateway makes it",
    "strip the answer",
    "read and strip an event",
)
EXPLAINED = f"""\
CPU microseconds without sockets and without a model: the median over {{samples}} decisions on {{calls}} calls. A call
has a system prompt of 2,000 characters, which was seen before, and a question of 500. `decide` chooses the models by
the call's `fingerprint` and what is known about such calls. Then logprobs are requested, read from vLLM's whole answer,
and turned into features and a score, which is judged. The sum is **{DECISION}**, at most {MOST_US:g} us. `{WITH_JUDGE}`
includes the judge object; it also removes the logprobs for a client that did not ask for them. If the
evidence says that it pays, the classifier also reads the prompt, which adds its time to `decide`."""


class DecisionInput(NamedTuple):
    """A call, and the inputs of all parts of the decision on it."""

    call: ChatCall
    answer: bytes
    event: bytes
    choices: Sequence[Mapping[str, Any]]
    tokens: Sequence[TokenLogprob]
    confidence: Confidence | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class Column:
    """The cost of a decision on calls of one kind."""

    tokens: float
    """mean of an answer"""
    answer_bytes: float
    us: Mapping[str, float]
    """part -> its microseconds"""


Part = Callable[[DecisionInput], object]


def parts(policy: Cascade, *, structured: bool) -> dict[str, Part]:
    """Return the parts of a decision in their order, and then other combinations of them."""

    def with_judge(one: DecisionInput) -> None:
        decision = policy.decide(Situation(one.call, RUNGS))
        judge = policy.judge(NextAttempt(one.call, SMALL, decision, structured, rung_above=True))
        assert isinstance(judge, LogprobJudge)
        judge.adapt(one.call)
        judge.read(one.answer)
        judge.judge(one.choices)

    def judge_confidence(one: DecisionInput) -> None:
        score = None if one.confidence is None else one.confidence.score
        policy.acceptance(one.decision, SMALL)(one.confidence, score)

    return {
        "decide": lambda one: policy.decide(Situation(one.call, RUNGS)),
        "fingerprint": lambda one: fingerprint(one.call),
        "ask for logprobs": lambda one: with_logprobs(one.call),
        "read them": lambda one: tokens_of(one.answer),
        "features": lambda one: features(one.tokens, structured=structured),
        "judge": judge_confidence,
        STRIP: lambda one: without_logprobs(one.answer),
        WITH_JUDGE: with_judge,
        EVENT: lambda one: (tokens_of_event(one.event), without_logprobs(one.event)),
    }


def decision_input(policy: Cascade, asked: SampleCall, *, structured: bool) -> DecisionInput:
    """Return a call with the inputs of each part."""
    tokens = tokens_of(asked.answer)[0]
    decision = policy.decide(Situation(asked.call, RUNGS))
    confidence = features(tokens, structured=structured)
    return DecisionInput(asked.call, asked.answer, asked.event, asked.choices, tokens, confidence, decision)


def medians(runs: Mapping[str, Callable[[Any], object]], works: Sequence[Any], rounds: int) -> dict[str, float]:
    """Return the microseconds of each run. They take turns, because one alone would stay in the CPU's caches."""
    taken: dict[str, list[int]] = {name: [] for name in runs}
    idle = []
    for _ in range(rounds):
        for work in works:
            began = thread_time_ns()
            idle.append(thread_time_ns() - began)
            for name, run in runs.items():
                began = thread_time_ns()
                run(work)
                taken[name].append(thread_time_ns() - began)
    return {name: (median(of) - median(idle)) / 1e3 for name, of in taken.items()}


def column(known: Evidence, rounds: int, *, structured: bool) -> Column:
    """Measure the calls of one kind."""
    policy = cascade(known)
    works = [decision_input(policy, one, structured=structured) for one in calls(CALLS, seed=2, structured=structured)]
    us = medians(parts(policy, structured=structured), works, rounds)
    us[DECISION] = sum(us[name] for name in SUM)
    return Column(fmean(len(one.tokens) for one in works), fmean(len(one.answer) for one in works), us)


def measure(rounds: int) -> dict[str, Any]:
    """Return the cost of a decision for each kind of call, and of the classifier for each length of prompt."""
    known = evidence()
    without = replace(known, trust=0.0, trust_before=0.0)
    found = {name: asdict(column(without, rounds, structured=structured)) for name, structured in CASES.items()}
    classifier = {
        f"{length:,} characters": medians({"guess": known.prompt_gain}, prompts(CALLS, length, seed=3), rounds)["guess"]
        for length in PROMPTS
    }
    return {"cases": found, "classifier_us": classifier}


def broken_promises(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield each broken promise."""
    for name, one in found["cases"].items():
        if one["us"][DECISION] > MOST_US:
            yield f"{name}: {DECISION} costs {one['us'][DECISION]:.0f} us; the limit is {MOST_US:g}"


def markdown(report: Mapping[str, Any], picture: bool = False) -> str:
    """Return the report for people; it has no picture."""
    cases = report["cases"]
    head = ["us", *(f"{name}, {one['tokens']:.0f} tokens" for name, one in cases.items())]
    titles = {DECISION: f"**{DECISION}**", "fingerprint": "(fingerprint)"}
    rows = [
        [titles.get(name, name), *(f"{one['us'][name]:.1f}" for one in cases.values())]
        for name in ("fingerprint", *SUM, DECISION, STRIP, WITH_JUDGE, EVENT)
    ]
    classifier = [[name, f"{us:.0f}"] for name, us in report["classifier_us"].items()]
    explained = EXPLAINED.format(samples=f"{report['rounds'] * CALLS:,}", calls=CALLS)
    lines = ["# What a decision costs", "", machine_line(report), "", explained, "", *table(head, rows), ""]
    return "\n".join([*lines, *table(("the classifier", "us"), classifier), ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status: 1 if a decision costs more than its limit."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routing.decision", description="What a cascade's decision on one call costs."
    )
    parser.add_argument("--rounds", type=whole(1), default=ROUNDS, metavar="N", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.json and report.md there")
    options = parser.parse_args(argv)
    report = {"benchmark": "decision", **machine.describe(PACKAGES), "rounds": options.rounds}
    report |= measure(options.rounds)
    say(markdown(report))
    if options.out:
        write(report, options.out, Renderer(markdown), say)
    return say_broken(broken_promises(report))


if __name__ == "__main__":
    sys.exit(main())
