"""Run the tests that start engines of their own, and write docs/test-engines.md: when, where, and how each ended.

    make test-engines
    .venv/bin/python scripts/test_engines.py families   # these alone: docs/test-engines.md stays as it is

Takes minutes: each of them starts an engine. `make test` leaves them out; it starts two, and one of them once more.
Those of the families also write docs/families.json, and with it docs/models.md.
"""

from __future__ import annotations

# ruff: noqa: S603 - the command is our own; S314 - and so is the XML
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import packages_distributions, version
from pathlib import Path
from xml.etree import ElementTree

from family_results import Outcome, family_results
from installer import ROOT
from reference_catalogue import PAGE, RESULTS, catalogue_page

from router.engine.gpu import visible_gpus

REPORT = ROOT / "docs" / "test-engines.md"
ALL = "engines or families"
FAMILIES = "tests/families/"
EXPECTED = "expected failure"


def main(markers: str) -> int:
    """Run the tests with these markers, and return pytest's exit status."""
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-m", markers, f"--junit-xml={xml}"]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        outcomes = read(xml.read_text(encoding="utf-8"))
    date = time.strftime("%Y-%m-%d", time.gmtime())
    if markers == ALL:
        REPORT.write_text(report(outcomes, where, date), encoding="utf-8")
    families = family_results(outcomes, f"vllm {where['vLLM']} {'GPU' if visible_gpus(os.environ) else 'CPU'}", date)
    RESULTS.write_text(json.dumps(families, indent=2) + "\n", encoding="utf-8")
    PAGE.write_text(catalogue_page(), encoding="utf-8")
    return status


def read(xml: str) -> list[Outcome]:
    """Return each test's outcome, in the order in which they ran, from JUnit's XML."""
    found = []
    for case in ElementTree.fromstring(xml).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        seconds = float(case.get("time", "0"))
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            found.append(Outcome(name, "failed", seconds))
        elif skipped is None:
            found.append(Outcome(name, "passed", seconds))
        elif skipped.get("type") == "pytest.xfail":
            found.append(Outcome(name, EXPECTED, seconds, skipped.get("message", "")))
        else:
            found.append(Outcome(name, "skipped", seconds))
    return found


def machine() -> dict[str, str]:
    """Return what the tests ran on; nothing that names the machine or its folders."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory_kib = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "CPU": f"{cpu}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory_kib / 2**20:.0f} GiB",
        "Python": platform.python_version(),
        "vLLM": version(packages_distributions()["vllm"][0]),  # the builds for CPUs have other names
        "llama.cpp": f"that of {pinned_llamacpp()}",
    }


def pinned_llamacpp() -> str:
    """Return the wheel with llama.cpp's server and its version, as locked."""
    return next(line.split()[0] for line in _lines(str(ROOT / "requirements/llamacpp.txt")) if "==" in line)


def report(outcomes: list[Outcome], where: dict[str, str], date: str) -> str:
    """Return the report."""
    rows = [(outcome.name, outcome.word, outcome.seconds) for outcome in outcomes if not _is_family(outcome)]
    families: dict[str, list[Outcome]] = {}
    for outcome in filter(_is_family, outcomes):
        families.setdefault(outcome.name.partition("::")[0], []).append(outcome)
    rows += [(name, _count(some), sum(outcome.seconds for outcome in some)) for name, some in families.items()]
    lines = [
        "# Tests that start engines of their own",
        "",
        "`make test-engines` ran these and wrote this page. `make test` leaves them out: each starts an engine.",
        "",
        f"{date}: {_count(outcomes)}.",
        "",
        *(f"- {name}: {value}" for name, value in where.items()),
        "",
        "| test | outcome | seconds |",
        "|---|---|---:|",
        *(f"| `{name}` | {word} | {seconds:.0f} |" for name, word, seconds in rows),
    ]
    return "\n".join(lines) + "\n"


def _is_family(outcome: Outcome) -> bool:
    return outcome.name.startswith(FAMILIES)


def _count(outcomes: list[Outcome]) -> str:
    """Return how many ended how."""
    words = [outcome.word for outcome in outcomes]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(sorted(words, key=_order)))


def _order(word: str) -> int:
    return ("passed", "failed", EXPECTED, "skipped").index(word)


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or (ALL,)))
