"""The conformance benchmark: the upstream that answers everything, the lock, and the committed report."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from benchmarks.common.machine import ROOT
from benchmarks.common.report import JSON, TEXT
from benchmarks.conformance import document, report, sdk
from benchmarks.conformance.__main__ import main
from benchmarks.conformance.packages import locked_version
from tests.support.any_answer import text_for

COMMITTED = ROOT / "docs" / "benchmarks" / "conformance"
SCHEMA = {
    "type": "object",
    "required": ["a", "b"],
    "properties": {"a": {"type": "integer", "minimum": 3}, "b": {"type": "array", "minItems": 2}},
}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "Paris."),
        ({"response_format": {"type": "text"}}, "Paris."),
        ({"structured_outputs": {"regex": "[b-d]{3}x"}}, "bbbx"),
        ({"structured_outputs": {"choice": ["no", "yes"]}}, "no"),
        ({"structured_outputs": {"grammar": 'root ::= "a" [0-9]'}}, "a0"),
    ],
)
def test_the_upstream_answers_in_the_format_that_is_asked_for(fields: dict[str, Any], text: str) -> None:
    assert text_for(fields) == text


@pytest.mark.parametrize("schema", [SCHEMA, {"type": "object"}, {"type": "string", "minLength": 3}, True])
def test_the_upstream_satisfies_a_schema(schema: Any) -> None:
    text = text_for({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}})
    assert jsonschema_rs.validator_for(schema).is_valid(json.loads(text))


def test_the_sdk_that_is_tested_is_the_one_of_the_tests() -> None:
    assert f"\nopenai=={locked_version('openai')} " in (ROOT / "requirements" / "dev.txt").read_text()


def test_the_committed_report_keeps_every_promise() -> None:
    found = json.loads((COMMITTED / JSON).read_text())
    assert list(document.broken_promises(found["parts"]["document"]["figures"])) == []
    assert list(sdk.broken_promises(found["parts"]["sdk"]["figures"])) == []
    assert report.markdown(found, False) == (COMMITTED / TEXT).read_text()


def test_broken_promises_are_named() -> None:
    figures = json.loads((COMMITTED / JSON).read_text())["parts"]
    checked, methods = figures["document"]["figures"], figures["sdk"]["figures"]
    failure = {"title": "Server error", "count": 2, "operations": ["GET /ready"]}
    [promise] = document.broken_promises(checked | {"failures": [failure]})
    assert promise == "document: Server error: 2 times, GET /ready"
    created = methods["methods"] | {"models: list": {"passed": 1, "failed": 2, "fault": "no"}}
    [promise] = sdk.broken_promises(methods | {"methods": created})
    assert promise == "sdk: models: list: 2 tests fail: no"
    stored = methods["not_served"] | {"models: delete": {"status": 500, "in_shape": True}}
    [promise] = sdk.broken_promises(methods | {"not_served": stored})
    assert promise.startswith("sdk: models: delete: not a 404 or 405 in shape")


def test_it_can_be_drawn_again_without_a_run(tmp_path: Any) -> None:
    (tmp_path / JSON).write_text((COMMITTED / JSON).read_text())
    assert main(["--redraw", f"--out={tmp_path}"]) == 0
    assert (tmp_path / TEXT).read_text() == (COMMITTED / TEXT).read_text()
