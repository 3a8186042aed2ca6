"""schemathesis against the OpenAPI document that the running gateway serves."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.report import Say
from benchmarks.conformance.gateway import KEY, running_gateway
from benchmarks.conformance.packages import locked_version

HOOKS = Path(__file__).with_name("checks.py")
REPLACED = ("not_a_server_error", "positive_data_acceptance")
"""checks of schemathesis in whose place `checks.py` has some that know what a request asks for"""
CONFIG = f"""
hooks = "{HOOKS}"
[[operations]]
include-path-regex = "^/openai/"
parameters = {{ "path.deployment" = "auto" }}
"""
LIMIT_S = 3600.0


class Failed(Exception):
    """schemathesis did not run to its end."""


def measure(bin_folder: Path, folder: Path, examples: int, seed: int, say: Say) -> dict[str, Any]:
    """Run every check on every operation; return the counts.

    Raises:
        Failed: schemathesis did not run to its end.
    """
    config, report, passed = folder / "schemathesis.toml", folder / "schemathesis.json", folder / "passed.jsonl"
    config.write_text(CONFIG)
    passed.touch()
    with running_gateway(folder / "gateway", ["auto"], key=True) as root:
        command = [str(bin_folder / "schemathesis"), f"--config-file={config}", "run", f"{root}/openapi.json"]
        command += ["--checks=all", f"--exclude-checks={','.join(REPLACED)}", "--continue-on-failure", "--no-color"]
        command += [f"--max-examples={examples}", f"--seed={seed}", f"--header=Authorization: Bearer {KEY}"]
        command += ["--generation-database=none", "--report=json", f"--report-json-path={report}"]
        done = subprocess.run(
            command, cwd=folder, env=os.environ | {"CONFORMANCE_LOG": str(passed)}, capture_output=True, text=True,
            timeout=LIMIT_S, check=False,
        )  # fmt: skip
        log = (folder / "gateway" / "gateway.log").read_text(errors="replace")
    if not report.exists():
        raise Failed(f"schemathesis ended with status {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    if done.returncode:
        say(done.stdout[:20_000])
    found = json.loads(report.read_text())
    if not found["complete"]:
        raise Failed(f"schemathesis stopped: {found['stop_reason']}")
    return {
        "schemathesis": locked_version("schemathesis"),
        "examples": examples,
        "seed": seed,
        "seconds": round(found["running_time"], 1),
        "operations": found["operations"],
        "phases": {name: phase["status"] for name, phase in found["phases"].items()},
        "cases": found["test_cases"],
        "failures": found["failures"],
        "errors": found["errors"],
        "tracebacks": log.count("Traceback"),
        "let_pass": _counted(passed),
    }


def _counted(log: Path) -> dict[str, int]:
    whys = Counter(json.loads(line)["why"] for line in log.read_text().splitlines())
    return dict(sorted(whys.items(), key=lambda one: -one[1]))


def broken_promises(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield each broken promise."""
    for failure in found["failures"]:
        yield f"document: {failure['title']}: {failure['count']} times, {', '.join(failure['operations'])}"
    for error in found["errors"]:
        yield f"document: {error}"
    if found["operations"]["tested"] != found["operations"]["total"]:
        yield f"document: {found['operations']['tested']} of {found['operations']['total']} operations were tested"
    if found["tracebacks"]:
        yield f"document: {found['tracebacks']} tracebacks in the gateway's log"
