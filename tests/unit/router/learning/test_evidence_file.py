"""The file between `smallfirst calibrate` and the gateway."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from router.errors import ConfigError
from router.learning.evidence import Comparison, Evidence, Example
from router.learning.evidence_file import VERSION, EvidenceFile


@pytest.fixture(scope="module")
def file() -> EvidenceFile:
    examples = [
        Example(
            "auto/a", f"question {n}", weak=n % 2, strong=1, has_confidence=True, score=n % 2 + n / 100, first=n / 9
        )
        for n in range(40)
    ]
    return EvidenceFile(
        made=date(2026, 11, 23),
        route="auto",
        fallback="large",
        models={"small": Evidence.fit(examples, beginning_tokens=4)},
        comparisons={"small": [Comparison("auto/a", 0.25, 12, worse=True)]},
    )


def test_what_is_saved_is_loaded(file: EvidenceFile, tmp_path: Path) -> None:
    file.save(tmp_path / "evidence.json")
    loaded = EvidenceFile.load(tmp_path / "evidence.json")
    assert (loaded.version, loaded.made, loaded.route, loaded.fallback) == (VERSION, file.made, "auto", "large")
    assert loaded.comparisons["small"][0] == file.comparisons["small"][0]
    before, after = file.models["small"], loaded.models["small"]
    for score in (-2.0, 0.3, 1.2):
        for beginning in (False, True):
            gains = [one.gain(one.prior("auto/a", "question 3"), score, beginning=beginning) for one in (before, after)]
            assert gains[0] == gains[1]
    assert [path.name for path in tmp_path.iterdir()] == ["evidence.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no evidence"),
        ("[]", "no evidence: Expected `object`"),
        ("{", "no evidence"),
        ("\xff", "no evidence"),
        ("{}", "missing required field `version`"),
        ('{"version": 0}', f"version: expected {VERSION}, got 0"),
        (json.dumps({"version": VERSION, "made": "2026-11-23"}), "missing required field `route`"),
        (json.dumps({"version": VERSION, "made": "yesterday"}), r"made"),
    ],
)
def test_what_is_no_evidence_is_refused_with_its_name(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=said) as refused:
        EvidenceFile.load(path)
    assert str(path) in str(refused.value)
    assert "smallfirst calibrate" in str(refused.value)


def test_a_file_that_cannot_be_read_or_written_is_named(file: EvidenceFile, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read: No such file"):
        EvidenceFile.load(tmp_path / "none.json")
    with pytest.raises(ConfigError, match=r"none/evidence\.json: cannot be written: No such file"):
        file.save(tmp_path / "none" / "evidence.json")
