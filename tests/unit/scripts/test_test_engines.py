"""The report of `make test-engines`. Nothing is run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

import test_engines as script

RESULTS = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest">
<testcase classname="tests.vllm.test_starts" name="test_a[SIGINT]" time="12.6"/>
<testcase classname="tests.vllm.test_starts" name="test_b" time="3.1"><failure message="no">...</failure></testcase>
<testcase classname="tests.vllm.test_starts" name="test_c" time="0.1"><error message="no">...</error></testcase>
<testcase classname="tests.vllm.test_starts" name="test_d" time="0.0"><skipped message="no">...</skipped></testcase>
<testcase classname="tests.families.test_families" name="test_chat[a]" time="2.0"/>
<testcase classname="tests.families.test_families" name="test_call[a]" time="3.0"><skipped type="pytest.xfail"
 message="vLLM loses it">...</skipped></testcase>
</testsuite></testsuites>"""


def test_the_report_says_how_each_test_ended() -> None:
    lines = script.report(script.read(RESULTS), {"CPU": "one", "vLLM": "0.1"}, "2026-01-02").splitlines()
    assert "2026-01-02: 2 passed, 2 failed, 1 expected failure, 1 skipped." in lines
    assert lines[-10:] == [
        "- CPU: one",
        "- vLLM: 0.1",
        "",
        "| test | outcome | seconds |",
        "|---|---|---:|",
        "| `tests/vllm/test_starts.py::test_a[SIGINT]` | passed | 13 |",
        "| `tests/vllm/test_starts.py::test_b` | failed | 3 |",
        "| `tests/vllm/test_starts.py::test_c` | failed | 0 |",
        "| `tests/vllm/test_starts.py::test_d` | skipped | 0 |",
        "| `tests/families/test_families.py` | 1 passed, 1 expected failure | 5 |",
    ]


def test_the_reason_of_an_expected_failure_is_read() -> None:
    assert script.read(RESULTS)[-1] == script.Outcome(
        "tests/families/test_families.py::test_call[a]", "expected failure", 3.0, "vLLM loses it"
    )


def test_it_names_neither_the_machine_nor_its_folders() -> None:
    where = script.machine()
    assert set(where) == {"CPU", "memory", "Python", "vLLM", "llama.cpp"}
    assert where["llama.cpp"].startswith("that of xllamacpp==")
    assert all(where.values())
    assert os.uname().nodename not in "".join(where.values())
    assert str(script.ROOT) not in "".join(where.values())
