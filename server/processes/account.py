"""The user account of this process. A container may run under a user id that /etc/passwd does not have."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Mapping
from pathlib import Path


def has_account() -> bool:
    """Return whether /etc/passwd, or what the system uses in its place, has this process's user id."""
    return _account() is not None


def default_state_dir(env: Mapping[str, str]) -> Path:
    """Return the state folder of a user who set none. Without an account and a home it is a temporary one."""
    xdg = Path(env.get("XDG_STATE_HOME", ""))
    if xdg.is_absolute():  # the XDG specification says to ignore a relative path
        return xdg / "smallfirst"
    home = _home(env)
    if home is None or (not has_account() and not _is_writable(home)):
        return temporary_state_dir()
    return home / ".local" / "state" / "smallfirst"


def temporary_state_dir() -> Path:
    """Return the state folder of a user who has no other. Others could have made it, as they may write beside it."""
    return Path(tempfile.gettempdir(), f"smallfirst-{os.getuid()}")


def engine_variables(env: Mapping[str, str], state_dir: Path) -> dict[str, str]:
    """Return variables that engines need and this user lacks: a name, and a home folder that can be written.

    torch asks for the user's name and fails if there is none. vLLM keeps what it has compiled below the home folder;
    where that cannot be written, a folder in `state_dir` takes its place, which the caller makes.
    """
    variables: dict[str, str] = {}
    if not has_account():
        name = env.get("LOGNAME") or env.get("USER") or f"uid-{os.getuid()}"
        variables |= {"LOGNAME": name, "USER": name}
    home = _home(env)
    if home is None or not _is_writable(home):
        variables["HOME"] = str(state_dir / "home")
        if home is not None and (weights := home / ".cache" / "huggingface").is_dir():
            variables["HF_HOME"] = env.get("HF_HOME") or str(weights)
    return variables


def _account() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        return None


def _home(env: Mapping[str, str]) -> Path | None:
    account = _account()
    home = env.get("HOME") or (account.pw_dir if account else "")
    return Path(home) if home else None


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
