"""What does a decision cost? `python -m benchmarks.routing.decision`; see benchmarks/README.md.

Microseconds of this process's CPU for each part of a cascade's decision on one call, and for all of it as the gateway
makes it, from the call to the answer accepted or not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from time import thread_time_ns
from typing import Any, NamedTuple

from msgspec.structs import replace

from benchmarks import machine
from benchmarks.routing.decision_calls import RUNGS, SMALL, Asked, calls, cascade, evidence, prompts
from benchmarks.vllm.options import whole
from benchmarks.vllm.program import say
from router.decision import Confidence, Decision
from router.judge.features import TokenLogprob, features
from router.judge.logprob import LogprobJudge
from router.judge.logprobs import stripped, tokens_of, tokens_of_event, with_logprobs
from router.learning.evidence import Evidence
from router.learning.fingerprint import fingerprint
from router.policy.base import NextAttempt, Situation
from router.policy.cascade import Cascade
from router.types import ChatCall

MOST_US = 150.0
"""of a decision without the classifier"""
CALLS, ROUNDS = 50, 40
PACKAGES = ("smallfirst", "msgspec")
CASES = {"JSON": True, "text": False}
"""column -> whether the answer is structured"""
PROMPTS = (500, 8_000)
"""characters that the classifier reads"""
SUM = ("decide", "ask for logprobs", "read them", "features", "judge")
DECISION, GATE, STRIP, EVENT = "the decision", "through the gate", "strip the answer", "read and strip an event"
EXPLAINED = f"""\
us of CPU, without sockets and without a model; the median over {{samples}} decisions on {{calls}} calls. A call has
2,000 characters of system prompt, seen before, and 500 of question. `decide` says who is asked, by the call's
`fingerprint` and what is known of such calls; then logprobs are asked for, read from vLLM's whole answer, made into
features and a score, and that is judged: **{DECISION}**, at most {MOST_US:g} us. `{GATE}`: the same as the gateway does
it, the logprobs taken out again for a client who did not ask. Where the evidence says that it pays, the prompt is read
by the classifier, too: `decide` then costs so much more."""


class Work(NamedTuple):
    """A call, and all that the parts of the decision on it take in."""

    call: ChatCall
    answer: bytes
    event: bytes
    choices: Sequence[Mapping[str, Any]]
    tokens: Sequence[TokenLogprob]
    confidence: Confidence | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class Column:
    """What a decision on calls of one kind costs."""

    tokens: float
    """of an answer, mean"""
    answer_bytes: float
    us: Mapping[str, float]
    """of each part"""


Part = Callable[[Work], object]


def parts(policy: Cascade, *, structured: bool) -> dict[str, Part]:
    """Return each part of a decision, in their order; then other views of the same."""

    def through_the_gate(one: Work) -> None:
        decision = policy.decide(Situation(one.call, RUNGS))
        gate = policy.judge(NextAttempt(one.call, SMALL, decision, structured, rung_above=True))
        assert isinstance(gate, LogprobJudge)
        gate.adapt(one.call)
        gate.read(one.answer)
        gate.judge(one.choices)

    def judge(one: Work) -> None:
        score = None if one.confidence is None else one.confidence.score
        policy.acceptance(one.decision, SMALL)(one.confidence, score)

    return {
        "decide": lambda one: policy.decide(Situation(one.call, RUNGS)),
        "fingerprint": lambda one: fingerprint(one.call),
        "ask for logprobs": lambda one: with_logprobs(one.call),
        "read them": lambda one: tokens_of(one.answer),
        "features": lambda one: features(one.tokens, structured=structured),
        "judge": judge,
        STRIP: lambda one: stripped(one.answer),
        GATE: through_the_gate,
        EVENT: lambda one: (tokens_of_event(one.event), stripped(one.event)),
    }


def worked(policy: Cascade, asked: Asked, *, structured: bool) -> Work:
    """Return a call with what each part leaves to the next."""
    tokens = tokens_of(asked.answer)[0]
    decision = policy.decide(Situation(asked.call, RUNGS))
    confidence = features(tokens, structured=structured)
    return Work(asked.call, asked.answer, asked.event, asked.choices, tokens, confidence, decision)


def medians(runs: Mapping[str, Callable[[Any], object]], works: Sequence[Any], rounds: int) -> dict[str, float]:
    """Return the microseconds of each run: in turns, since one repeated alone would have the CPU's caches to itself."""
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
    works = [worked(policy, one, structured=structured) for one in calls(CALLS, seed=2, structured=structured)]
    us = medians(parts(policy, structured=structured), works, rounds)
    us[DECISION] = sum(us[name] for name in SUM)
    return Column(fmean(len(one.tokens) for one in works), fmean(len(one.answer) for one in works), us)


def measure(rounds: int) -> dict[str, Any]:
    """Return what a decision costs for each kind of call, and the classifier for each length of prompt."""
    known = evidence()
    without = replace(known, trust=0.0, trust_before=0.0)
    found = {name: asdict(column(without, rounds, structured=structured)) for name, structured in CASES.items()}
    classifier = {
        f"{length:,} characters": medians({"guess": known.prompt_gain}, prompts(CALLS, length, seed=3), rounds)["guess"]
        for length in PROMPTS
    }
    return {"cases": found, "classifier_us": classifier}


def promises(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was promised and is not so."""
    for name, one in found["cases"].items():
        if one["us"][DECISION] > MOST_US:
            yield f"{name}: {DECISION} costs {one['us'][DECISION]:.0f} us, at most {MOST_US:g} are allowed"


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report for people."""
    hardware, cases = report["machine"], report["cases"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    lines = ["# What a decision costs", ""]
    lines += [
        f"{report['date']}; {hardware['cpu']}, {hardware['cores']} cores; Python {hardware['python']}, {versions};"
        f" revision {report['revision']}",
        "",
        EXPLAINED.format(samples=f"{report['rounds'] * CALLS:,}", calls=CALLS),
        "",
    ]
    titles = [f"{name}, {one['tokens']:.0f} tokens" for name, one in cases.items()]
    lines += [f"| us | {' | '.join(titles)} |", f"|---|{'--:|' * len(titles)}"]
    for name in ("fingerprint", *SUM, DECISION, STRIP, GATE, EVENT):
        cells = [f"{one['us'][name]:.1f}" for one in cases.values()]
        title = {DECISION: f"**{DECISION}**", "fingerprint": "(fingerprint)"}.get(name, name)
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += ["", "| the classifier | us |", "|---|--:|"]
    lines += [f"| {name} | {us:.0f} |" for name, us in report["classifier_us"].items()]
    return "\n".join([*lines, ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status: 1 where a decision costs more than it may."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routing.decision", description="What does a cascade's decision on one call cost?"
    )
    parser.add_argument("--rounds", type=whole(1), default=ROUNDS, metavar="N", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.json and report.md there")
    options = parser.parse_args(argv)
    report = {"benchmark": "decision", **machine.describe(PACKAGES), "rounds": options.rounds}
    report |= measure(options.rounds)
    say(markdown(report))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (options.out / "report.md").write_text(markdown(report), encoding="utf-8")
    broken = list(promises(report))
    for promise in broken:
        say(f"not as promised: {promise}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
