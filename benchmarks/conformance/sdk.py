"""The API tests of OpenAI's own Python SDK, for what the gateway serves."""

from __future__ import annotations

import os
import re
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from benchmarks.common.report import Say
from benchmarks.conformance.gateway import running_gateway
from benchmarks.conformance.packages import locked_version, sdk_source

TESTS = (
    "tests/api_resources/chat/test_completions.py",
    "tests/api_resources/test_completions.py",
    "tests/api_resources/test_models.py",
)
ROUTES = ("gpt-6-astra", "gpt-3.5-turbo-instruct", "ft:gpt-4o-mini:acemeco:suffix:abc123")
"""the models that the tests ask for"""
NOT_SERVED: Mapping[str, tuple[str, str]] = {
    "chat completions: retrieve": ("GET", "/v1/chat/completions/completion_id"),
    "chat completions: update": ("POST", "/v1/chat/completions/completion_id"),
    "chat completions: list": ("GET", "/v1/chat/completions"),
    "chat completions: delete": ("DELETE", "/v1/chat/completions/completion_id"),
    "models: delete": ("DELETE", "/v1/models/ft:gpt-4o-mini:acemeco:suffix:abc123"),
}
"""what the tests try and the gateway does not have: nothing is stored, and models are not deleted"""
LIMIT_S = 900.0


def measure(bin_folder: Path, folder: Path, sdist: Path | None, say: Say) -> dict[str, Any]:
    """Run the tests; return the counts by method, and the answers of what is not served.

    Raises:
        NotInstalled: the SDK's source could not be had.
    """
    source = sdk_source(bin_folder, sdist, folder)
    results = folder / "sdk.xml"
    with running_gateway(folder / "gateway", ROUTES, key=False) as root:
        command = [str(bin_folder / "python"), "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-q"]
        command += ["--tb=line", f"--junit-xml={results}", *TESTS]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTEST_"))}
        done = subprocess.run(
            command, cwd=source, env=env | {"TEST_API_BASE_URL": f"{root}/v1"}, capture_output=True, text=True,
            timeout=LIMIT_S, check=False,
        )  # fmt: skip
        refused = {name: _refusal(root, method, path) for name, (method, path) in NOT_SERVED.items()}
    say(f"  {done.stdout.strip().splitlines()[-1]}")
    return {"openai": locked_version("openai"), "methods": _by_method(results), "not_served": refused}


def _by_method(results: Path) -> dict[str, dict[str, Any]]:
    methods: dict[str, Counter[str]] = {}
    faults: dict[str, str] = {}
    for case in ET.parse(results).getroot().iter("testcase"):
        method = _method(case.attrib["classname"], case.attrib["name"])
        fault = case.find("failure") if case.find("failure") is not None else case.find("error")
        word = "skipped" if case.find("skipped") is not None else "passed" if fault is None else "failed"
        methods.setdefault(method, Counter())[word] += 1
        if fault is not None:
            faults[method] = str(fault.attrib.get("message"))[:300]
    return {name: {**count, "fault": faults.get(name, "")} for name, count in sorted(methods.items())}


def _method(module: str, test: str) -> str:
    """Return what a test calls, such as `chat completions: create`."""
    of = "chat completions" if ".chat." in module else "models" if "models" in module else "completions"
    verb = re.sub(r"\[.*", "", test)
    known = re.search(r"create|retrieve|update|list|delete", verb)
    path = " with an empty id (no request)" if verb.startswith("test_path_params") else ""
    return f"{of}: {known[0] if known else verb}{path}"


def _refusal(root: str, method: str, path: str) -> dict[str, Any]:
    answer = httpx.request(method, root + path, trust_env=False, json={} if method == "POST" else None)
    try:
        error = answer.json()["error"]
        in_shape = set(error) == {"message", "type", "param", "code"} and isinstance(error["message"], str)
    except (ValueError, KeyError, TypeError):
        error, in_shape = None, False
    return {"request": f"{method} {path}", "status": answer.status_code, "error": error, "in_shape": in_shape}


def broken_promises(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield each broken promise."""
    for method, count in found["methods"].items():
        if count.get("failed") and method not in NOT_SERVED:
            yield f"sdk: {method}: {count['failed']} tests fail: {count['fault']}"
    for method, answer in found["not_served"].items():
        if answer["status"] not in (404, 405) or not answer["in_shape"]:
            yield f"sdk: {method}: not a 404 or 405 in shape: {answer}"
