"""What a request leaves behind in the gateway's process: sockets, tasks, slots, leases, calls of upstreams."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support.gateway import Gateway
from tests.support.upstream import Upstream
from tests.support.waiting import PATIENCE_S, wait_until

VARIABLE = "CHAOS_HELD_FILE"
PATCH = f"""
import asyncio, json, os, signal
from router.replicas.pool import Pool
from router.replicas.probe import Probe
from server.admission import Admission

async def rest(self):
    await asyncio.Event().wait()

Probe.run = rest  # no check of a replica's health comes between two counts
made = {{Pool: [], Admission: []}}

def keep(cls):
    init = cls.__init__
    def init_and_keep(self, *args, **kwargs):
        init(self, *args, **kwargs)
        made[cls].append(self)
    cls.__init__ = init_and_keep

def write(number, frame):
    slots = [one.in_flight for one in made[Admission]]
    leases = [[replica.name, replica.in_flight] for pool in made[Pool] for replica in pool.replicas]
    tasks = [task.get_coro().__qualname__ for task in asyncio.all_tasks(asyncio.get_running_loop())]
    file = os.environ["{VARIABLE}"]
    with open(file + ".new", "w") as out:
        json.dump({{"slots": sum(slots), "leases": leases, "tasks": tasks}}, out)
    os.replace(file + ".new", file)

for cls in made:
    keep(cls)
signal.signal(signal.SIGUSR1, write)
"""
"""runs in the gateway before it starts: at SIGUSR1 it writes into a file what it holds. (A page of /metrics says that
of slots and leases, too, but with the models of all scenarios it is far too long to be read after each of them.)"""


@dataclass(frozen=True)
class Held:
    """What the process holds."""

    slots: int
    leases: dict[str, int]
    tasks: Counter[str]
    sockets: int

    def beyond(self, other: Held) -> str:
        """Return what is more than in `other`, and every slot and lease."""
        more = [f"{count} more tasks of {name}" for name, count in (self.tasks - other.tasks).items()]
        more += [f"{count} requests in flight at {replica}" for replica, count in self.leases.items()]
        if self.slots:
            more.append(f"{self.slots} requests admitted")
        if self.sockets > other.sockets:
            more.append(f"{self.sockets - other.sockets} more sockets")
        return ", ".join(more)


class Remains:
    """Compares what the gateway holds with what it held before the first scenario."""

    def __init__(self, gateway: Gateway, upstream: Upstream, file: Path) -> None:
        self._gateway = gateway
        self._upstream = upstream
        self._file = file
        self._before = self._settled()

    def assert_nothing(self) -> None:
        """Assert that nothing is held but what was held before, now or soon."""
        end = time.monotonic() + PATIENCE_S
        while more := self._more():
            assert time.monotonic() < end, more
            time.sleep(0.01)

    def _more(self) -> str:
        if running := self._upstream.running():
            return f"calls of upstreams that nobody waits for: {[call.target for call in running]}"
        return self.held_beyond()

    def held_beyond(self) -> str:
        """Return what is held now and was not before."""
        return self._held().beyond(self._before)

    def _settled(self) -> Held:
        """Return what it holds when two looks see the same."""
        looks: list[Held] = []

        def same() -> bool:
            looks.append(self._held())
            return len(looks) > 1 and looks[-1] == looks[-2]

        wait_until(same, "the gateway has come to rest")
        return looks[-1]

    def _held(self) -> Held:
        """Ask the process. Our own connection counts, so it must be open; idle ones to the upstream do not."""
        assert self._gateway.http.get("/health").status_code == 200
        self._upstream.close_idle()
        self._file.unlink(missing_ok=True)
        os.kill(self._gateway.process.pid, signal.SIGUSR1)
        wait_until(self._file.exists, "the gateway writes down what it holds")
        written = json.loads(self._file.read_text())
        leases = {replica: count for replica, count in written["leases"] if count}
        return Held(written["slots"], leases, Counter(written["tasks"]), _sockets(self._gateway.process.pid))


def _sockets(pid: int) -> int:
    """Return how many TCP sockets a process holds. (Those to its grammar workers, which start when they are needed, are
    of another kind.)"""
    inodes = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it was closed meanwhile
            inodes.add(os.readlink(file).removeprefix("socket:[").removesuffix("]"))
    tables = [Path(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return sum(line.split()[9] in inodes for line in lines)
