"""Labelled calls in, evidence and a table out."""

from __future__ import annotations

import re
from pathlib import Path

from router.decision import log_odds
from router.learning.calibrate import run
from router.learning.evidence_file import EvidenceFile
from router.learning.labelled import CalibrationTerms
from tests.support.labelled import calls, decode, written


def test_it_learns_and_tells_what_thresholds_would_keep(tmp_path: Path) -> None:
    files = [written(tmp_path, *calls(300, seed), name=f"{seed}.jsonl") for seed in (1, 2)]
    out = tmp_path / "evidence.json"
    lines: list[str] = []
    report = run(CalibrationTerms("auto", ("small", "other"), "large"), files, out, decode, lines.append)
    assert "other: no calls to learn from" in lines
    assert f"wrote {out}" in lines
    rows = {cells[0]: cells for cells in (re.split(r"  +", row) for row in report.splitlines())}
    assert rows["easy"][1] == rows["hard"][1] == "300"
    assert rows["all"][1] == "600"
    assert float(rows["hard"][2]) < 0.5 < float(rows["easy"][2])
    assert float(rows["all"][4]) > 0.8
    shares = [int(cell.partition("%")[0]) for cell in rows["all"][5:9]]
    assert shares == sorted(shares, reverse=True)
    assert 100 > shares[0] > shares[-1]

    file = EvidenceFile.load(out)
    assert (file.route, file.fallback, file.samples, set(file.models)) == ("auto", "large", 0, {"small"})
    assert 240 < len(file.comparisons["small"]) < 360, "half of the calls teach nothing"
    assert f"judged on {len(file.comparisons['small'])} others" in report
    assert file.models["small"].completion_tokens("auto/task:easy") == 20
    prior = file.models["small"].prior("auto/task:easy", "What?")
    assert file.models["small"].gain(prior, log_odds(-0.01)) < 0.3 < file.models["small"].gain(prior, log_odds(-2.5))
