"""The report for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.common.machine import machine_line
from benchmarks.common.report import table


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report."""
    lines = ["# Conformance to the OpenAPI document and to OpenAI's SDK", ""]
    for part, of in report["parts"].items():
        lines += [*(_document if part == "document" else _sdk)(of), ""]
    return "\n".join(lines)


def _document(of: Mapping[str, Any]) -> Iterator[str]:
    found, cases = of["figures"], of["figures"]["cases"]
    yield from ("## The gateway's OpenAPI document", "", machine_line(of), "")
    yield (
        f"schemathesis {found['schemathesis']}, all checks, valid and invalid data, at most {found['examples']}"
        f" random examples an operation beside the systematic ones, seed {found['seed']}; {found['seconds']:.0f} s."
    )
    yield ""
    rows = [
        ["operations tested", f"{found['operations']['tested']} of {found['operations']['total']}"],
        ["requests generated", str(cases["generated"])],
        ["failures of a check", str(sum(one["count"] for one in found["failures"]))],
        ["errors of schemathesis", str(len(found["errors"]))],
        ["tracebacks in the gateway's log", str(found["tracebacks"])],
    ]
    yield from table(["", "count"], rows)
    yield from (f"- {one['title']}: {', '.join(one['operations'])}" for one in found["failures"])
    yield from ("", "Phases: " + ", ".join(f"{name} {status}" for name, status in found["phases"].items()) + ".", "")
    yield from ("Let pass by the checks of `benchmarks/conformance/checks.py`, which says why:", "")
    yield from table(["", "requests"], [[why, str(count)] for why, count in found["let_pass"].items()])


def _sdk(of: Mapping[str, Any]) -> Iterator[str]:
    found = of["figures"]
    yield from ("## The API tests of OpenAI's Python SDK", "", machine_line(of), "")
    yield f"openai {found['openai']}: its tests of chat completions, completions and models, sync and async."
    yield ""
    words = ("passed", "failed", "skipped")
    rows = [[name, *(str(count.get(word, 0)) for word in words)] for name, count in found["methods"].items()]
    sums = [sum(count.get(word, 0) for count in found["methods"].values()) for word in words]
    yield from table(["method", *words], [*rows, ["**all**", *map(str, sums)]])
    yield from ("", "What fails is not served: nothing is stored, and models are not deleted. The answers:", "")
    refused = [
        [name, f"`{one['request']}`", str(one["status"]), "yes" if one["in_shape"] else "no"]
        for name, one in found["not_served"].items()
    ]
    yield from table(["method", "request", "status", "error in shape"], refused, left=2)
