"""The command line of the vLLM benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.common.options import whole_list
from benchmarks.common.servers import address, normal_root
from benchmarks.vllm.options import FULL, QUICK, parse


def test_defaults_and_quick() -> None:
    full, quick = parse([]), parse(["--quick", "--pairs", "7"])
    assert FULL.items() <= vars(full).items()
    assert (full.concurrency, full.config, full.url) == ([1, 8], Path("models.yaml"), None)
    assert (QUICK | {"pairs": 7}).items() <= vars(quick).items()


def test_servers_that_run_already() -> None:
    options = parse(["--url", "http://h:8000/v1/", "--direct", "unix:/run/vllm.sock"])
    assert (options.url, options.direct) == ("http://h:8000", "unix:/run/vllm.sock")
    assert address(options.url, "/v1/models") == "http://h:8000/v1/models"
    assert address(options.direct, "/v1/models") == "unix:/run/vllm.sock:/v1/models"


@pytest.mark.parametrize(
    "argv",
    [
        ["--url", "http://h"],
        ["--direct", "http://h"],
        ["--url", "ftp://h", "--direct", "http://h"],
        ["--rounds", "0"],
        ["--max-tokens", "1"],
        ["--pairs", "-1"],
        ["--concurrency", "1,x"],
        ["--concurrency", ""],
        ["--unknown"],
    ],
)
def test_what_is_wrong_is_said_and_the_status_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(argv)
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_lists() -> None:
    assert whole_list("1, 8,32") == [1, 8, 32]
    with pytest.raises(argparse.ArgumentTypeError, match="from 1"):
        whole_list("0")


@pytest.mark.parametrize("url", ["h:8000", "https://h", "unix:relative", ""])
def test_roots_that_are_none(url: str) -> None:
    with pytest.raises(ValueError, match="expected http://"):
        normal_root(url)
