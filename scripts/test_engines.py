"""Run the tests that start engines of their own, and write docs/test-engines.md: when, where, and how each ended.

    make test-engines

Takes minutes: each of them starts an engine. `make test` leaves them out; it starts two, and one of them once more.
"""

from __future__ import annotations

# ruff: noqa: S603 - the command is our own; S314 - and so is the XML
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs" / "test-engines.md"


class Outcome(NamedTuple):
    """How a test ended."""

    name: str
    word: str
    seconds: float


def main() -> int:
    """Return pytest's exit status."""
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-m", "engines", f"--junit-xml={results}"]
        status = subprocess.run(command, cwd=ROOT, check=False).returncode
        outcomes = read(results.read_text(encoding="utf-8"))
    REPORT.write_text(report(outcomes, where, time.strftime("%Y-%m-%d", time.gmtime())), encoding="utf-8")
    return status


def read(xml: str) -> list[Outcome]:
    """Return each test's outcome, in the order in which they ran, from JUnit's XML."""
    found = []
    for case in ElementTree.fromstring(xml).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        bad = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
        words = {"failure": "failed", "error": "failed", "skipped": "skipped"}
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        found.append(Outcome(name, words[bad[0]] if bad else "passed", float(case.get("time", "0"))))
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
    passed = sum(outcome.word == "passed" for outcome in outcomes)
    lines = [
        "# Tests that start engines of their own",
        "",
        "`make test-engines` ran these and wrote this page. `make test` leaves them out: each starts an engine.",
        "",
        f"{date}: {passed} of {len(outcomes)} passed.",
        "",
        *(f"- {name}: {value}" for name, value in where.items()),
        "",
        "| test | outcome | seconds |",
        "|---|---|---:|",
        *(f"| `{outcome.name}` | {outcome.word} | {outcome.seconds:.0f} |" for outcome in outcomes),
    ]
    return "\n".join(lines) + "\n"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    sys.exit(main())
