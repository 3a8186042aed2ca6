"""vLLM's parsers, with the parsers that the catalogue names, read what the families write, whole and in any pieces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from router.catalogue.bundled import TEMPLATES
from tests.families import formats
from tests.families.entries import FAMILIES, Family
from tests.families.parser_cases import PIECES, TOOLS, Case, answers_of, cases_of
from tests.families.tiny_models import write_models
from tests.support.gateway import ROOT


class Job(NamedTuple):
    """An answer in pieces, for parsers."""

    family: Family
    tool_parser: str | None
    reasoning_parser: str | None
    case: Case
    pieces: str

    @property
    def id(self) -> str:
        return f"{self.family.name}-{self.case.name}-{self.pieces}"

    def as_json(self, folder: Path) -> dict[str, Any]:
        """Return what `tests.families.feed_parsers` reads."""
        entry = self.family.entry
        tools = {"tools": TOOLS, "tool_choice": "auto"} if self.tool_parser else {}
        question = [{"role": "user", "content": "What is the weather in Paris?"}]
        request = {"model": entry.name, "messages": question, "chat_template_kwargs": dict(self.case.switches), **tools}
        return {
            "folder": str(folder),
            "tool_parser": self.tool_parser,
            "reasoning_parser": self.reasoning_parser,
            "template": str(TEMPLATES / entry.chat_template) if entry.chat_template else None,
            "request": request,
            "said": self.case.said,
            "pieces": self.pieces,
        }


def jobs() -> Iterator[Job]:
    for family in FAMILIES:
        parsers = family.entry.tool_parser, family.entry.reasoning_parser
        if any(parsers):
            for case in cases_of(family):
                yield from (Job(family, *parsers, case, pieces) for pieces in PIECES)


def unused(parser: str, name: str, written: formats.Format) -> list[Job]:
    """Return answers for a parser that vLLM has for a family, but that the catalogue does not name."""
    [family] = [family for family in FAMILIES if family.name == name]
    return [Job(family, parser, None, case, pieces) for case in answers_of(written, in_text=False) for pieces in PIECES]


JOBS = list(jobs())
UNUSED = {
    "phi4_mini_json": unused("phi4_mini_json", "phi-4-mini", formats.functools),
    "xlam": unused("xlam", "xlam-2-8b", formats.bare_list),
}
LOST = "the parser loses or repeats calls: once it does not, the catalogue may name it"


@pytest.fixture(scope="session")
def arrived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What arrived, by parser and job. All are fed by one process, which imports vLLM once."""
    folder = tmp_path_factory.mktemp("parsers")
    folders = write_models(FAMILIES, folder / "models", weights=False)
    every = [*JOBS, *(job for some in UNUSED.values() for job in some)]
    asked = [job.as_json(folders[job.family.name]) for job in every]
    (folder / "jobs.json").write_text(json.dumps(asked), encoding="utf-8")
    command = (sys.executable, "-m", "tests.families.feed_parsers", folder / "jobs.json", folder / "results.json")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {f"{job.tool_parser}-{job.id}": result for job, result in zip(every, found, strict=True)}


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.id)
def test_thoughts_content_and_calls_arrive(arrived: dict[str, Any], job: Job) -> None:
    assert_arrived(job.case, arrived[f"{job.tool_parser}-{job.id}"])


@pytest.mark.xfail(reason=LOST, strict=True)
@pytest.mark.parametrize("parser", UNUSED)
def test_parsers_that_the_catalogue_does_not_name(arrived: dict[str, Any], parser: str) -> None:
    for job in UNUSED[parser]:
        assert_arrived(job.case, arrived[f"{parser}-{job.id}"])


def assert_arrived(case: Case, found: dict[str, Any]) -> None:
    assert "error" not in found, found["error"]
    calls = [(call["name"], json.loads(call["arguments"] or "null")) for call in found["calls"]]
    assert calls == [tuple(call) for call in case.calls]
    # newlines around tags are part of no text: parsers keep or drop them
    assert (found["content"] or "").strip() == (case.content or "")
    assert (found["reasoning"] or "").strip() == (case.reasoning or "")
