"""The table of commands: what a command is, and what a typing slip costs."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from router.errors import ConfigError
from server import cli
from server.commands.base import Subparsers


def test_a_command_is_a_module_with_two_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_parser(subparsers: Subparsers) -> None:
        parser = subparsers.add_parser("greet")
        parser.add_argument("--status", type=int)
        parser.set_defaults(run=run)

    def run(arguments: argparse.Namespace) -> int:
        return int(arguments.status)

    monkeypatch.setattr(cli, "COMMANDS", (*cli.COMMANDS, SimpleNamespace(add_parser=add_parser, run=run)))
    assert cli.main(["greet", "--status", "7"]) == 7


def test_a_wrong_configuration_is_status_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(_: argparse.Namespace) -> int:
        raise ConfigError("models.yaml:1: wrong")

    def add_parser(subparsers: Subparsers) -> None:
        subparsers.add_parser("fail").set_defaults(run=run)

    monkeypatch.setattr(cli, "COMMANDS", [SimpleNamespace(add_parser=add_parser, run=run)])
    assert cli.main(["fail"]) == 2
    assert capsys.readouterr().err == "smallfirst: models.yaml:1: wrong\n"


def test_a_typing_slip_waits_for_no_heavy_import() -> None:
    program = """
import sys
from server.cli import main
try:
    main(["serve", "--prot", "8000"])
except SystemExit as error:
    assert error.code == 2
print({"fastapi", "uvicorn", "aiohttp", "prometheus_client"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert "--prot" in done.stderr


@pytest.mark.parametrize("command", ["prices", "models"])
def test_a_reader_that_has_seen_enough_ends_a_command_quietly(command: str) -> None:
    """As in `smallfirst prices | head -1`: the pipe's reading end is closed before the command writes."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "server.cli", command],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
