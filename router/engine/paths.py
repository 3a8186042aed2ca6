"""The files of one replica: its log, and the private folder of its sockets."""

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

LOG_LIMIT_BYTES = 20_000_000
SOCKET_PATH_LIMIT = 107  # bytes: sun_path of a Unix socket, less its NUL
LONGEST_SOCKET_NAME = 36  # vLLM names its own sockets by UUIDs


def log_file(state_dir: Path, name: str, part: str) -> Path:
    """Return the log's path, another for each model: a file's name holds no `/`, and a model's no `+`.

    Raises:
        OSError: the folder of the logs cannot be made.
    """
    return log_folder(state_dir) / f"{name.replace('/', '+')}-{part}.log"


@functools.cache
def log_folder(state_dir: Path) -> Path:
    """Return the folder of this gateway's logs: the first of `logs`, `logs-2`, .. that no other gateway holds.

    It is held until this process ends. The next one takes it over: logs of gateways long gone do not pile up.
    """
    for number in itertools.count(1):
        folder = state_dir / ("logs" if number == 1 else f"logs-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        if _hold(folder / "lock"):
            break
    return folder


def _hold(file: Path) -> bool:
    """Lock a file for as long as this process lives; return False where another process has."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    except OSError:
        os.close(lock)  # a file system without locks
    return True


def new_log(path: Path) -> Path:
    """Put the log of the previous start aside, as `NAME.1`, and return the path of the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.replace(f"{path}.1")
    return path


def bound_log(path: Path) -> None:
    """Empty a log that has grown too long, its content put aside; the process that appends to it goes on.

    Raises:
        OSError: there is no log, or its content could not be put aside; it is emptied all the same.
    """
    if path.stat().st_size > LOG_LIMIT_BYTES:
        try:
            shutil.copyfile(path, f"{path}.1")
        finally:
            os.truncate(path, 0)


def read_last_words(path: Path, tail_bytes: int = 50_000) -> str:
    """Return why the process that wrote this log ended; nothing where the log cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - tail_bytes))
            return last_words(file.read().decode(errors="replace"))
    except OSError:
        return ""


def last_words(text: str) -> str:
    """Return the line that says why vLLM ended: the first error of the tail, which caused the others, or the last line.

    Lines of vLLM's processes begin with `(EngineCore pid=12) `, errors that it logs with level, time and place too.
    """
    prefix = r"(?:\(\w+ pid=\d+\) )?(?:ERROR [\d-]+ [\d:]+ \[[^\]]*\] )?"
    lines = [re.sub(f"^{prefix}", "", line).strip() for line in text.splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|error)\b.*: |[\w.]+: error: ", line)]
    named = [line for line in lines if line]
    return (errors or named[-1:] or [""])[0][:500]


def runtime_folder() -> Path:
    """Return a new private folder's path, short enough for the names of Unix sockets in it."""
    name = f"smallfirst-{secrets.token_hex(4)}"
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        if base and os.access(base, os.W_OK):
            folder = Path(base, name)
            if len(os.fsencode(folder)) + 1 + LONGEST_SOCKET_NAME <= SOCKET_PATH_LIMIT:
                return folder
    return Path("/tmp", name)  # noqa: S108 - made with mode 0700, and only if nothing is there
