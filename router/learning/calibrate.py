"""Learn the evidence for `cascade` and `classifier` from labelled calls, as `smallfirst calibrate` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from router.errors import BadData
from router.learning.calibration_report import HeldOutCall, format_table
from router.learning.evidence import Comparison, Evidence, Example
from router.learning.evidence_file import EvidenceFile
from router.learning.labelled import CalibrationTerms, Decode, LabelledCall, read

REPORT_EVERY_S = 2.0
"""seconds between two progress reports on one file"""

Say = Callable[[str], None]


def run(terms: CalibrationTerms, files: Sequence[Path], out: Path, decode: Decode, say: Say) -> str:
    """Learn from the labelled calls of the files, write the evidence, and return a table of the results.

    Raises:
        ConfigError: the evidence cannot be written.
        BadData: a file cannot be read or has a wrong line, or there are too few calls.
    """
    calls = _read(files, terms, decode, say)
    found = {name: learned for name in terms.small if (learned := _learn(name, calls, terms, say))}
    if not found:
        raise BadData(f"nothing to learn from: expected answers of {' or '.join(terms.small)} to at least a few calls")
    file = EvidenceFile(
        made=datetime.now(UTC).date(),
        route=terms.route,
        fallback=terms.fallback,
        samples=terms.samples,
        models={name: learned.evidence for name, learned in found.items()},
        comparisons={name: learned.comparisons for name, learned in found.items()},
    )
    file.save(out)
    say(f"wrote {out}")
    return "\n\n".join(learned.report for learned in found.values())


class _Learned(NamedTuple):
    evidence: Evidence
    comparisons: list[Comparison]
    report: str


def _learn(name: str, calls: Sequence[LabelledCall], terms: CalibrationTerms, say: Say) -> _Learned | None:
    """Fit the evidence of one small model on half of its calls and evaluate it on the other half.

    None if the half to learn from has no calls.
    """
    answered = [call for call in calls if name in call.examples]
    examples = [call.examples[name] for call in answered if not call.held_out]
    if not examples:
        say(f"{name}: no calls to learn from")
        return None
    say(f"{name}: learning from {len(examples)} calls")
    evidence = Evidence.fit(examples, terms.beginning_tokens)
    held_out = [call for call in answered if call.held_out]
    evaluated = [_evaluate(call.examples[name], evidence) for call in held_out]
    comparisons = [
        Comparison(one.example.task, one.gain, call.prompt_tokens, not one.example.as_good)
        for call, one in zip(held_out, evaluated, strict=True)
    ]
    return _Learned(evidence, comparisons, format_table(name, terms.fallback, examples, evaluated))


def _read(files: Sequence[Path], terms: CalibrationTerms, decode: Decode, say: Say) -> list[LabelledCall]:
    calls: list[LabelledCall] = []
    ignored: Counter[str] = Counter()
    for file in files:
        first, reported_s = len(calls), monotonic()
        for call in read(file, terms, decode):
            calls.append(call)
            ignored.update(call.ignored)
            if monotonic() - reported_s > REPORT_EVERY_S:
                reported_s = monotonic()
                say(f"{file}: {len(calls) - first} calls so far")
        say(f"{file}: {len(calls) - first} calls")
    for name, count in ignored.items():
        say(f"{name}: {count} answers are ignored: route {terms.route} has no such model here")
    return calls


def _evaluate(example: Example, evidence: Evidence) -> HeldOutCall:
    return HeldOutCall(example, evidence.gain(evidence.prior(example.task, example.text), example.score))
