"""The command `smallfirst`: a table of subcommands, each of which is one module of `server.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

try:
    from router.errors import BadData, ConfigError
    from server.commands import add, calibrate, check, models, prices, serve
    from server.commands.base import Command, print_error
except KeyboardInterrupt:
    sys.exit(0)  # as in `main`

COMMANDS: tuple[Command, ...] = (serve, check, models, add, calibrate, prices)
"""in the order in which `smallfirst --help` lists them"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Return 0, or 2 if a setting, models.yaml or data is wrong."""
    arguments = build_parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except (ConfigError, BadData) as error:
        print_error(f"smallfirst: {error}")
        return 2
    except KeyboardInterrupt:
        return 0  # Ctrl-C is the usual way to stop it
    except BrokenPipeError:  # the reader has seen enough, as in `smallfirst prices | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout once more when it exits
        return 0
    return status


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="smallfirst", description="An OpenAI-compatible server: small model first.")
    subparsers = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
