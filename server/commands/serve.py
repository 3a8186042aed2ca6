"""`smallfirst serve`: start the gateway, and the vLLM processes of the managed models."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import tempfile
from pathlib import Path

from router.config.models import Config
from router.errors import ConfigError
from server.commands.base import Subparsers, add_config_option, checked_config, print_error, stale_prices
from server.processes.account import engine_variables, temporary_state_dir
from server.settings import Settings, add_arguments

log = logging.getLogger("smallfirst.cli")

BACKLOG = 2048
"""connections that may wait to be accepted, for each worker"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser(
        "serve", help="start the gateway, and the vLLM processes of the models that have a `source`"
    )
    add_config_option(parser)
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check everything that can be wrong, then serve until a signal stops it."""
    config = checked_config(arguments.config)
    settings = Settings.from_env(os.environ, vars(arguments))
    # Imports that take long come after the checks, so that a mistyped setting is reported at once.
    from server.observability import logs  # noqa: PLC0415
    from server.processes.gateway import Gateway  # noqa: PLC0415
    from server.processes.resources import Resources  # noqa: PLC0415
    from server.processes.workers import ParentProcess  # noqa: PLC0415

    logs.configure(_secrets(config, settings))
    for line in stale_prices(config):
        log.warning("%s", line)
    if line := shutdown_note(config, settings):
        log.info("%s", line)
    if any(model.managed for model in config.models.values()):
        _check_writable(settings.state_dir)
        _complete_environment(settings.state_dir)
    listeners = _open_listeners(settings)
    try:
        resources = Resources(config, settings, url=_url(listeners[0]), progress=print_error)
    except OSError as error:  # too many open files, with very many models
        raise ConfigError(f"cannot create the memory that {settings.workers} workers share: {error.strerror}") from None
    gateway = Gateway(config, settings, resources)
    if settings.workers == 1:
        return gateway.serve(0, listeners[0])
    return ParentProcess(gateway, listeners, settings.shutdown_grace_s).run()


def shutdown_note(config: Config, settings: Settings) -> str:
    """Return a line that says which requests a shutdown cuts off, or an empty string if it lets all of them end."""
    slowest = max(config.models.values(), key=lambda model: model.timeouts.total_s)
    if settings.shutdown_grace_s >= slowest.timeouts.total_s:
        return ""
    return (
        f"a shutdown waits {settings.shutdown_grace_s:g} s for running requests (--shutdown-grace-s), and answers of "
        f"{slowest.name} may take {slowest.timeouts.total_s:g} s (timeouts.total_s): longer ones end with an error"
    )


def _secrets(config: Config, settings: Settings) -> list[str]:
    of_providers = [secret for model in config.models.values() for secret in model.secrets]
    return [*(key.get_secret_value() for key in settings.api_keys), *of_providers]


def _check_writable(state_dir: Path) -> None:
    """Make the folder for fetched models and logs, and try to write there."""
    is_temporary = state_dir == temporary_state_dir()
    try:
        state_dir.mkdir(mode=0o700 if is_temporary else 0o777, parents=True, exist_ok=True)
        if is_temporary and state_dir.lstat().st_uid != os.getuid():
            raise ConfigError(f"SMALLFIRST_STATE_DIR: set it, because {state_dir} belongs to another user")
        with tempfile.TemporaryFile(dir=state_dir):
            pass
    except OSError as error:
        raise ConfigError(f"SMALLFIRST_STATE_DIR: cannot write to {state_dir}: {error.strerror}") from None


def _complete_environment(state_dir: Path) -> None:
    """Give engines, downloads and conversions the variables that this user lacks."""
    variables = engine_variables(os.environ, state_dir)
    if "HOME" in variables:
        Path(variables["HOME"]).mkdir(exist_ok=True)
    if variables:
        log.warning(
            "this user has no account, or no home folder that it can write to: engines get %s",
            ", ".join(f"{name}={value}" for name, value in variables.items()),
        )
    os.environ.update(variables)


def _open_listeners(settings: Settings) -> list[socket.socket]:
    """Bind the port before any vLLM starts, because a vLLM takes a minute to load.

    Each worker has its own accept queue. The kernel divides the connections among them.
    """
    try:
        family, *_, (host, port, *_) = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        if settings.workers == 1:
            return [socket.create_server((host, port), family=family, backlog=BACKLOG)]
        # With reuse_port we would share the port with another program that has set it, too.
        # So the port is first bound without it.
        with socket.socket(family) as probe:
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


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
