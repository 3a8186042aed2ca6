"""The files of one replica: its log and the private folder for its sockets."""

from __future__ import annotations

import fcntl
import functools
import itertools
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

MAX_LOG_BYTES = 20_000_000
MAX_SOCKET_PATH_BYTES = 107  # sun_path of a Unix socket, without its NUL
MAX_SOCKET_NAME_BYTES = 36  # vLLM names its own sockets by UUID


def log_file(state_dir: Path, name: str, part: str) -> Path:
    """Return the path of a log. `+` replaces `/`; as no model name contains `+`, every model has its own log.

    Raises:
        OSError: the log folder cannot be created.
    """
    return log_folder(state_dir) / f"{name.replace('/', '+')}-{part}.log"


@functools.cache
def log_folder(state_dir: Path) -> Path:
    """Return this gateway's log folder: the first of `logs`, `logs-2`, .. that no other gateway has locked.

    The lock lasts until this process ends. A later gateway reuses the folder, so old log folders do not accumulate.
    """
    for number in itertools.count(1):
        folder = state_dir / ("logs" if number == 1 else f"logs-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        if _try_lock(folder / "lock"):
            break
    return folder


def _try_lock(file: Path) -> bool:
    """Lock a file until this process ends. Return False if another process has locked it."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    except OSError:
        os.close(lock)  # the file system has no locks
    return True


def rotate_log(path: Path) -> Path:
    """Rename the log of the previous start to `NAME.1` and return the path of the new log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.replace(f"{path}.1")
    return path


def limit_log_size(path: Path) -> None:
    """If a log is too long, copy it to `NAME.1` and empty it. The process that appends to it is not disturbed.

    Raises:
        OSError: the log does not exist, or could not be copied. In the latter case it is emptied anyway.
    """
    if path.stat().st_size > MAX_LOG_BYTES:
        try:
            shutil.copyfile(path, f"{path}.1")
        finally:
            os.truncate(path, 0)


def read_failure_reason(path: Path, tail_bytes: int = 50_000) -> str:
    """Return why the process that wrote this log ended, or an empty text if the log cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - tail_bytes))
            return failure_reason(file.read().decode(errors="replace"))
    except OSError:
        return ""


def failure_reason(text: str) -> str:
    """Return the log line that says why vLLM ended: the first error, which caused the others, or else the last line.

    Lines of vLLM's processes start with `(EngineCore pid=12) `. In logged errors, level, time and source follow.
    """
    prefix = r"(?:\(\w+ pid=\d+\) )?(?:ERROR [\d-]+ [\d:]+ \[[^\]]*\] )?"
    lines = [re.sub(f"^{prefix}", "", line).strip() for line in text.splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|error)\b.*: |[\w.]+: error: ", line)]
    non_empty = [line for line in lines if line]
    return (errors or non_empty[-1:] or [""])[0][:500]


def runtime_folder() -> Path:
    """Return the path of a new private folder, short enough for Unix sockets in it."""
    name = f"smallfirst-{secrets.token_hex(4)}"
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        if base and os.access(base, os.W_OK):
            folder = Path(base, name)
            if len(os.fsencode(folder)) + 1 + MAX_SOCKET_NAME_BYTES <= MAX_SOCKET_PATH_BYTES:
                return folder
    return Path("/tmp", name)  # noqa: S108 - created with mode 0700, and only if it does not exist
