"""vLLM's parsers, with the parsers that the catalogue names, read what the families write, whole and in any pieces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from router.catalogue.bundled import TEMPLATES
from tests.families.entries import FAMILIES, Family
from tests.families.known_faults import fault_of
from tests.families.parser_cases import PIECES, TOOLS, Case, cases_of
from tests.families.tiny_models import write_models
from tests.support.gateway import ROOT

PARSED = [family for family in FAMILIES if family.entry.tool_parser or family.entry.reasoning_parser]


def jobs() -> Iterator[tuple[Family, Case, str]]:
    for family in PARSED:
        for case in cases_of(family):
            for pieces in PIECES:
                yield family, case, pieces


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Any]:
    """What arrived, by family, case and pieces. All are fed by one process, which imports vLLM once."""
    folder = tmp_path_factory.mktemp("parsers")
    folders = write_models(PARSED, folder / "models", weights=False)
    asked = [
        {
            "folder": str(folders[family.name]),
            "tool_parser": family.entry.tool_parser,
            "reasoning_parser": family.entry.reasoning_parser,
            "template": str(TEMPLATES / family.entry.chat_template) if family.entry.chat_template else None,
            "request": {
                "model": family.name,
                "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
                "chat_template_kwargs": dict(case.switches),
            }
            | ({"tools": TOOLS, "tool_choice": "auto"} if family.entry.tool_parser else {}),
            "said": case.said,
            "pieces": pieces,
        }
        for family, case, pieces in jobs()
    ]
    (folder / "jobs.json").write_text(json.dumps(asked), encoding="utf-8")
    command = (sys.executable, "-m", "tests.families.feed_parsers", folder / "jobs.json", folder / "results.json")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    names = [(family.name, case.name, pieces) for family, case, pieces in jobs()]
    return dict(zip(names, found, strict=True))


def parameters() -> list[Any]:
    made = []
    for family, case, pieces in jobs():
        fault = fault_of(family, case, pieces)
        marks = [pytest.mark.xfail(reason=fault, strict=True)] if fault else []
        made.append(pytest.param(family, case, pieces, marks=marks, id=f"{family.name}-{case.name}-{pieces}"))
    return made


@pytest.mark.parametrize(("family", "case", "pieces"), parameters())
def test_thoughts_content_and_calls_arrive(
    results: dict[tuple[str, str, str], Any], family: Family, case: Case, pieces: str
) -> None:
    found = results[family.name, case.name, pieces]
    assert "error" not in found, found["error"]
    calls = [(call["name"], json.loads(call["arguments"] or "null")) for call in found["calls"]]
    assert calls == [tuple(call) for call in case.calls]
    # newlines around tags are part of no text: parsers keep or drop them
    assert (found["content"] or "").strip() == (case.content or "")
    assert (found["reasoning"] or "").strip() == (case.reasoning or "")
