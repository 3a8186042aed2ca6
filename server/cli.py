"""The command `smallfirst`: `serve`, `check`, `calibrate` and `prices`."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

try:
    from router.config import price_list
    from router.config.load import load
    from router.config.models import Config
    from router.engine.gpu import gpu_present
    from router.engine.preflight import check_managed
    from router.errors import BadData, ConfigError
    from router.policy.registry import Policies
    from server.settings import Settings, add_arguments
except KeyboardInterrupt:
    sys.exit(0)  # as in `main`


log = logging.getLogger("smallfirst.cli")

BACKLOG = 2048
"""connections that may wait to be accepted, for each worker"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 2 where a setting, models.yaml or data is wrong."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "prices":
            return _prices(arguments.config)
        config = load(arguments.config, os.environ, gpu=gpu_present())
        if arguments.command == "calibrate":
            return _calibrate(config, arguments)
        check_managed(config)
        for line in config.left_out.values():
            _say(line)
        if arguments.command == "check":
            Policies(config)
            for line in _old_prices(config):
                _say(line)
            print(f"{arguments.config}: {len(config.models)} models, {len(config.routes)} routes: valid")  # noqa: T201
            return 0
        return _serve(config, Settings.from_env(os.environ, vars(arguments)))
    except (ConfigError, BadData) as error:
        _say(f"smallfirst: {error}")
        return 2
    except KeyboardInterrupt:
        return 0  # Ctrl-C is how it is meant to be stopped


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="smallfirst", description="An OpenAI-compatible server: small model first.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="start the gateway, and the vLLM processes that models.yaml asks for")
    check = commands.add_parser("check", help="say what is wrong with a models.yaml, without starting anything")
    calibrate = commands.add_parser("calibrate", help="learn from labelled calls which answers a route may keep")
    for command in (serve, check, calibrate):
        command.add_argument("--config", type=Path, default=Path("models.yaml"), metavar="FILE",
                             help="what is served (default: models.yaml)")  # fmt: skip
    prices = commands.add_parser("prices", help="print the bundled prices, with the day and the source of each")
    prices.add_argument("--config", type=Path, metavar="FILE",
                        help="print those of this models.yaml instead, and where an hour breaks even")  # fmt: skip
    add_arguments(serve)
    _add_data_options(calibrate)
    return parser


def _add_data_options(calibrate: argparse.ArgumentParser) -> None:
    add = calibrate.add_argument
    add("--data", type=Path, action="append", required=True, metavar="FILE",
        help="labelled calls, as docs/routing.md describes them; may be given several times")  # fmt: skip
    add("--route", metavar="NAME", help="whose calls they are (default: the first route)")
    add("--out", type=Path, default=Path("evidence.json"), metavar="FILE",
        help="what the route's `evidence` then names (default: evidence.json)")  # fmt: skip
    add("--beginning", type=_tokens, default=0, metavar="TOKENS",
        help="learn also what the first so many tokens of a text say of it, for `hold: first`")  # fmt: skip


def _tokens(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number of tokens from 1, got {text!r}")
    return int(text)


def _calibrate(config: Config, arguments: argparse.Namespace) -> int:
    from router.learning import calibrate  # noqa: PLC0415 - as for `serve`

    print(calibrate.run(config, arguments, _say))  # noqa: T201
    return 0


def _prices(path: Path | None) -> int:
    from server.commands import prices  # noqa: PLC0415 - as for `serve`

    print(prices.text(load(path, os.environ, gpu=gpu_present()) if path else None))  # noqa: T201
    return 0


def _old_prices(config: Config) -> list[str]:
    return price_list.out_of_date(config.written.values(), datetime.now(UTC).date())


def _serve(config: Config, settings: Settings) -> int:
    # Heavy imports after the settings are known to be right: a typing slip is answered at once.
    from server.observability import logs  # noqa: PLC0415
    from server.processes.gateway import Gateway  # noqa: PLC0415
    from server.processes.resources import Resources  # noqa: PLC0415
    from server.processes.workers import ParentProcess  # noqa: PLC0415

    provider_keys = [model.api_key for model in config.models.values() if model.api_key is not None]
    logs.configure([key.get_secret_value() for key in (*settings.api_keys, *provider_keys)])
    for line in _old_prices(config):
        log.warning("%s", line)
    if any(model.managed for model in config.models.values()):
        _check_writable(settings.state_dir)
    listeners = _listen(settings)
    host, port = listeners[0].getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        resources = Resources(config, settings, url=url, progress=_say)
    except OSError as error:  # too many open files, where there are very many models
        raise ConfigError(f"cannot make what {settings.workers} workers share: {error.strerror}") from None
    gateway = Gateway(config, settings, resources)
    if settings.workers == 1:
        return gateway.serve(0, listeners[0])
    return ParentProcess(gateway, listeners, settings.shutdown_grace_s).run()


def _check_writable(state_dir: Path) -> None:
    """Make the folder where fetched models and logs go, and try to write there."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=state_dir):
            pass
    except OSError as error:
        raise ConfigError(f"SMALLFIRST_STATE_DIR: cannot write to {state_dir}: {error.strerror}") from None


def _listen(settings: Settings) -> list[socket.socket]:
    """Take the port before anything is started: a vLLM that loads for a minute in vain helps nobody.

    Each worker has a queue of its own, among which the kernel divides the connections.
    """
    try:
        family, *_, (host, port, *_) = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        if settings.workers == 1:
            return [socket.create_server((host, port), family=family, backlog=BACKLOG)]
        with socket.socket(family) as probe:  # with reuse_port we would join whoever has the port, if it has that, too
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
        listeners = []
        for _ in range(settings.workers):
            listeners.append(socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=True))
            port = listeners[0].getsockname()[1]
        return listeners
    except OSError as error:
        raise ConfigError(f"cannot serve on {settings.host}, port {settings.port}: {error.strerror}") from None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
