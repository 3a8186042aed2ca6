"""The command `smallfirst calibrate`: learn from labelled calls what `cascade` and `classifier` go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from router.errors import BadData
from router.learning.calibration_report import Judged, table
from router.learning.evidence import Comparison, Evidence, Example
from router.learning.evidence_file import EvidenceFile
from router.learning.labelled import CalibrationTerms, Decode, LabelledCall, read

REPORT_EVERY_S = 2.0

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
    return "\n\n".join(learned.told for learned in found.values())


class _Learned(NamedTuple):
    evidence: Evidence
    comparisons: list[Comparison]
    told: str


def _learn(name: str, calls: Sequence[LabelledCall], terms: CalibrationTerms, say: Say) -> _Learned | None:
    """Learn of one small model from half of its calls, and judge the other half by that; None: it has none."""
    answered = [call for call in calls if name in call.examples]
    examples = [call.examples[name] for call in answered if not call.held_out]
    if not examples:
        say(f"{name}: no calls to learn from")
        return None
    say(f"{name}: learning from {len(examples)} calls")
    evidence = Evidence.fit(examples, terms.beginning_tokens)
    held_out = [call for call in answered if call.held_out]
    judged = [_judged(call.examples[name], evidence) for call in held_out]
    comparisons = [
        Comparison(one.example.task, one.gain, call.prompt_tokens, not one.example.as_good)
        for call, one in zip(held_out, judged, strict=True)
    ]
    return _Learned(evidence, comparisons, table(name, terms.fallback, examples, judged))


def _read(files: Sequence[Path], terms: CalibrationTerms, decode: Decode, say: Say) -> list[LabelledCall]:
    calls: list[LabelledCall] = []
    ignored: Counter[str] = Counter()
    for file in files:
        began, said = len(calls), monotonic()
        for call in read(file, terms, decode):
            calls.append(call)
            ignored.update(call.ignored)
            if monotonic() - said > REPORT_EVERY_S:
                said = monotonic()
                say(f"{file}: {len(calls) - began} calls so far")
        say(f"{file}: {len(calls) - began} calls")
    for name, count in ignored.items():
        say(f"{name}: {count} answers are ignored: route {terms.route} has no such model here")
    return calls


def _judged(example: Example, evidence: Evidence) -> Judged:
    return Judged(example, evidence.gain(evidence.prior(example.task, example.text), example.score))
