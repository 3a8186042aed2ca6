"""One warm parent for several gateways: vLLM is imported once for all families.

`python -m tests.families.shared_warm_parent SOCKET MODULE...` imports the modules. It serves each connection to SOCKET
in a fork, as `router.engine.warm_parent` serves its gateway. A gateway that runs `use(SOCKET)` first connects to it
instead of starting a warm parent of its own.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

from router.engine import warm_parent, warm_start
from router.engine.guard import PR_SET_PDEATHSIG, libc


def main(path: str, modules: Sequence[str]) -> None:
    """Serve until killed, or until the process that started this one ends."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            channel, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                break
            channel.close()
    channel.send(json.dumps({"loaded": True}).encode())
    if (engine := warm_parent._fork_for_each_request(channel)) is not None:
        warm_parent._run(engine)


def use(path: str) -> None:
    """Let this process's warm starts use the warm parent that listens at `path`."""

    async def connect(parent: warm_start._WarmParent, modules: tuple[str, ...], env: Mapping[str, str]) -> None:
        parent._channel.close()
        parent._their_end.close()
        parent._channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent._channel.connect(path)
        parent._channel.setblocking(False)
        asyncio.get_running_loop().add_reader(parent._channel, parent._on_reply)

    warm_start._WarmParent.start = connect  # type: ignore[method-assign]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
