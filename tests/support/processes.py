"""Which processes a gateway has started, and whether they are gone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import wait_until


@dataclass(frozen=True)
class Process:
    """A process by id and start time: an id alone may come to mean another process."""

    pid: int
    started: str
    command: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether it runs; one that has ended and waits to be reaped does not."""
        try:
            state, started = _stat(self.pid)[0], _stat(self.pid)[19]
        except OSError:
            return False
        return started == self.started and state != "Z"

    @property
    def serves_vllm(self) -> bool:
        """Whether it is vLLM's API server itself, not a guard that was told to run it."""
        return "--uds" in self.command and not any(part.endswith("guard.py") for part in self.command)

    @property
    def socket(self) -> str:
        return self.command[self.command.index("--uds") + 1]


def descendants(root: int) -> list[Process]:
    """Return every process below `root`."""
    found, below = [], [root]
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except OSError:
                continue
    while below:
        for pid in parents.get(below.pop(), []):
            below.append(pid)
            try:
                found.append(Process(pid, _stat(pid)[19], command_of(pid)))
            except OSError:
                continue
    return found


def command_of(pid: int) -> tuple[str, ...]:
    """Return a command in words. An engine that was forked has set its title, with blanks between its arguments."""
    return tuple(Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").replace("\0", " ").split(" "))


def wait_for_vllm(root: int) -> Process:
    """Wait until a vLLM API server runs below `root`."""
    servers: list[Process] = []

    def found() -> bool:
        servers[:] = [process for process in descendants(root) if process.serves_vllm]
        return bool(servers)

    wait_until(found, f"a vLLM runs below {root}")
    return servers[0]


def shared_memory(processes: list[Process]) -> set[Path]:
    """Return the files of the shared memory that these processes use."""
    maps = "\n".join(Path(f"/proc/{process.pid}/maps").read_text() for process in processes if process.alive)
    return {Path(file) for file in re.findall(r"/dev/shm/\S+$", maps, re.MULTILINE)}


def wait_until_gone(processes: list[Process]) -> None:
    wait_until(lambda: not any(process.alive for process in processes), f"these are gone: {processes}")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
