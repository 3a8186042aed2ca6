"""Versions of an adapter: private copies of its folder, named by a digest of their content.

The engine reads a version's files whenever it needs the adapter again. So it gets a copy that never changes, and a new
path for each content: its prefix cache takes an adapter of the same name and path for the same adapter.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from router.adapters.folder import CONFIG, WEIGHTS, Adapter, fingerprint, read_adapter
from router.errors import EngineError

DIGEST_CHARS = 12  # 48 bits, which fit into a cell of shared memory
UNFINISHED = "new-"  # prefix of a copy in the making


@dataclass(frozen=True, slots=True)
class Version:
    """One content of an adapter. Its folder stays until `close` here and in all other gateways that use it."""

    folder: Path
    adapter: Adapter
    lock: int = field(repr=False, compare=False)

    @property
    def id(self) -> int:
        """Return the digest as a number above 0."""
        return int(self.folder.name, 16)

    def close(self) -> None:
        """Allow that the folder is removed."""
        with contextlib.suppress(OSError):
            os.close(self.lock)


def copy_version(source: Path, store: Path) -> Version:
    """Copy an adapter into a folder of `store`, named by its content. An equal copy that is there already is used.

    Raises:
        EngineError: the adapter is incomplete, or it changed meanwhile.
        OSError: it could not be copied.
    """
    before = fingerprint(source)
    read_adapter(source)
    store.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=store))
    lock = _hold(copy)
    try:
        for name in (CONFIG, WEIGHTS):
            shutil.copyfile(source / name, copy / name)
        adapter = read_adapter(copy)
        if fingerprint(source) != before:
            raise EngineError(f"{source}: changed while it was copied")
        folder = store / _digest(copy)
        with contextlib.suppress(OSError):  # there is one
            copy.rename(folder)
            return Version(folder, adapter, lock)
        os.close(lock)
        lock = _hold(folder)
        read_adapter(folder)
        return Version(folder, adapter, lock)
    except BaseException:
        os.close(lock)
        raise
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def remove_unused(store: Path) -> None:
    """Remove the copies that no gateway uses."""
    for folder in store.glob("*"):
        with contextlib.suppress(OSError):  # another gateway uses it, or removes it, too
            lock = _hold(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def _hold(folder: Path, how: int = fcntl.LOCK_SH) -> int:
    """Lock a folder until the returned file is closed. The kernel does that when this process ends."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, how)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        with (folder / name).open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:DIGEST_CHARS]
