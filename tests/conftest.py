"""Only loopback is asked in tests: no proxy of the environment may come between."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("engines")
    group.addoption(
        "--xllamacpp", default=sys.executable, metavar="PYTHON", help="a Python that has xllamacpp: llama.cpp's server"
    )
    group.addoption(
        "--llama-cpp-python", metavar="PYTHON", help="a Python that has llama-cpp-python[server], for its own tests"
    )
    group = parser.getgroup("chaos")
    group.addoption("--fault-wall", type=Path, metavar="FILE", help="write the verdicts of the fault wall into a page")
