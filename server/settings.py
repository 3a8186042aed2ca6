"""Where and how this process runs: command-line flags and environment variables. models.yaml says what it serves.

A flag wins over its environment variable. Client keys have no flag, because other users can see a command line.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr

from router.errors import ConfigError
from server.processes.account import default_state_dir

MIN_KEY_LENGTH = 8
MAX_WORKERS = 64
KEYS_VARIABLE = "SMALLFIRST_API_KEYS"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one gateway. Times are in seconds, sizes in bytes."""

    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    api_keys: tuple[SecretStr, ...] = ()
    max_body_bytes: int | None = None
    """None: `body_memory.max_body_bytes` decides"""
    max_in_flight: int = 256
    max_queued: int = 1024
    queue_timeout_s: float = 30.0
    shutdown_grace_s: float = 30.0
    warm_start: bool = True
    cors_origins: tuple[str, ...] = ()
    both_reasoning_names: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
        """Read the settings from the environment and from parsed flags, for instance `vars(namespace)`.

        Flags that are None or that name no setting are ignored.

        Raises:
            ConfigError: a value is wrong, there are fewer slots than workers, or a server without client keys would
                listen on an address that others can reach.
        """
        values: dict[str, Any] = {"state_dir": default_state_dir(env), "api_keys": _api_keys(env)}
        for name, option in _OPTIONS.items():
            flag, variable = _flag_name(name), _env_name(name)
            if (text := flags.get(name)) is not None:
                source = flag
            elif (text := env.get(variable)) is not None:
                source = variable
            else:
                continue
            try:
                values[name] = option.parse(text)
            except (ValueError, KeyError, RuntimeError):  # RuntimeError: `~` of a user without a home
                raise ConfigError(f"{source}: expected {option.expected}, got {text!r}") from None
        settings = cls(**values)
        if settings.workers > settings.max_in_flight:
            slots = f"{_flag_name('max_in_flight')} {settings.max_in_flight}"
            raise ConfigError(
                f"{_flag_name('workers')} {settings.workers} is more than {slots}: "
                "the slots are divided among the workers, and each worker needs one"
            )
        if not settings.api_keys and not _is_loopback(settings.host):
            raise ConfigError(
                f"{_flag_name('host')} {settings.host}: without client keys the server listens only on a loopback "
                f"address (127.0.0.1, ::1, localhost); set {KEYS_VARIABLE} to a comma-separated list of keys"
            )
        if not settings.api_keys and "*" in settings.cors_origins:
            raise ConfigError(
                f"{_flag_name('cors_origins')} *: without client keys any web page that is open on this machine could "
                f"use the models; name the origins, or set {KEYS_VARIABLE}"
            )
        return settings

    def slots(self, worker: int) -> tuple[int, int]:
        """Return a worker's share of `max_in_flight` and of `max_queued`. The shares of all workers add up to them."""
        return _share(self.max_in_flight, self.workers, worker), _share(self.max_queued, self.workers, worker)


def _share(whole: int, parts: int, number: int) -> int:
    return whole // parts + (number < whole % parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add one flag for each setting. The values stay text: `Settings.from_env` reads and checks them."""
    defaults = _defaults()
    for name, option in _OPTIONS.items():
        text = f"{option.help} [{_env_name(name)}] (default: {defaults[name]})"
        parser.add_argument(_flag_name(name), metavar=option.metavar, help=text)


def environment_variables() -> dict[str, str]:
    """Return each variable and its meaning; docs/reference/environment.md is made from it."""
    return {
        KEYS_VARIABLE: "the keys that clients may use, separated by commas (default: none; then only local clients are "
        "served)",
        **{_env_name(name): f"{option.help} (default: {_defaults()[name]})" for name, option in _OPTIONS.items()},
    }


def _defaults() -> dict[str, object]:
    defaults = {field.name: field.default for field in fields(Settings)}
    state_dir = "$XDG_STATE_HOME/smallfirst, else ~/.local/state/smallfirst; without an account or a home, temporary"
    max_body_bytes = "16777216; 67108864 if a model takes images"
    return defaults | {"state_dir": state_dir, "max_body_bytes": max_body_bytes, "cors_origins": "none"}


class _Option(NamedTuple):
    parse: Callable[[str], object]
    """raises ValueError, KeyError or RuntimeError"""
    expected: str
    metavar: str
    help: str


def _integer(low: int, high: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            raise ValueError
        return value

    return parse


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError
    return value


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _nonempty(text: str) -> str:
    if not text.strip():
        raise ValueError  # because an empty host means every interface
    return text.strip()


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip().lower() for origin in text.split(",") if origin.strip())
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError
    return origins


def _path(text: str) -> Path:
    return Path(_nonempty(text)).expanduser().absolute()


# as browsers send it: without a path or a slash at its end; extensions and desktop apps have schemes of their own
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9_.\[\]:-]+")

_OPTIONS = {
    "host": _Option(_nonempty, "a host name or an address", "ADDRESS", "address to serve on"),
    "port": _Option(_integer(0, 65535), "a port, 0 to 65535", "PORT", "port to serve on; 0 means any free port"),
    "workers": _Option(
        _integer(1, MAX_WORKERS),
        f"a whole number from 1 to {MAX_WORKERS}",
        "N",
        "number of processes that serve requests",
    ),
    "state_dir": _Option(_path, "a folder", "DIR", "folder for fetched models and logs"),
    "max_body_bytes": _Option(_integer(1), "a whole number from 1", "N", "largest request body, bytes"),
    "max_in_flight": _Option(
        _integer(1), "a whole number from 1", "N", "largest number of requests processed at the same time"
    ),
    "max_queued": _Option(
        _integer(0), "a whole number from 0", "N", "largest number of requests that wait in the queue"
    ),
    "queue_timeout_s": _Option(_seconds, "seconds, more than 0", "S", "longest wait in the queue, seconds"),
    "shutdown_grace_s": _Option(
        _seconds, "seconds, more than 0", "S", "longest time that running requests may take at shutdown, seconds"
    ),
    "warm_start": _Option(
        _boolean,
        "true or false",
        "BOOL",
        "whether engines are forked from a process that has loaded their code already",
    ),
    "both_reasoning_names": _Option(
        _boolean,
        "true or false",
        "BOOL",
        "whether clients get a model's thoughts as `reasoning`, too, beside `reasoning_content`",
    ),
    "cors_origins": _Option(
        _origins,
        "origins such as https://app.example:8443, without a path, separated by commas; or *",
        "ORIGINS",
        "origins of web pages that may call the server from a browser, separated by commas; * allows every page and "
        "needs client keys",
    ),
}


def _env_name(name: str) -> str:
    return f"SMALLFIRST_{name.upper()}"


def _flag_name(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _api_keys(env: Mapping[str, str]) -> tuple[SecretStr, ...]:
    """Read the client keys. An error gives the position of a key, never its text."""
    text = env.get(KEYS_VARIABLE, "")
    if not text.strip():
        return ()
    keys = [key.strip() for key in text.split(",")]
    for position, key in enumerate(keys, 1):
        where = f"{KEYS_VARIABLE}: key {position} of {len(keys)}"
        if not key:
            raise ConfigError(f"{where} is empty; expected keys separated by single commas")
        if len(key) < MIN_KEY_LENGTH:
            raise ConfigError(f"{where} is too short; expected at least {MIN_KEY_LENGTH} characters")
        if not all("!" <= character <= "~" for character in key):
            raise ConfigError(f"{where} does not fit an HTTP header; expected printable ASCII without spaces")
    return tuple(SecretStr(key) for key in keys)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
