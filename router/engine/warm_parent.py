"""`python -m router.engine.warm_parent MODULE...`: imports the modules once, then forks an engine for each request.

Importing vLLM takes about twenty seconds of CPU time. A process forked from one that has imported it needs none.

Its standard input is a Unix socket, over which the gateway sends one message per engine: what `python -m` shall run,
with the file descriptors of its log and of its guards. It answers with the process id. It ends with the gateway.
What it forks has guards of its own and stays if this process ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from setproctitle import setproctitle

from router.engine.guard import PR_SET_PDEATHSIG, STDIN, fork_under_guard, libc

MAX_MESSAGE_BYTES = 1_000_000
FILES_PER_REQUEST = 3  # the lifeline that the outer guard reads, the pipe for the exit status, the log
STDOUT, STDERR = 1, 2


def main(modules: Sequence[str]) -> None:
    """Import the modules, then serve until the gateway ends. Returns in a forked engine too, when it has ended."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    setproctitle(f"smallfirst: has loaded {modules[0].partition('.')[0]}")
    channel = socket.socket(fileno=os.dup(STDIN))
    _replace(STDIN, os.open(os.devnull, os.O_RDONLY))
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection would write to the objects' memory, which is shared until then
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the guards
    channel.send(json.dumps({"loaded": True}).encode())
    if (engine := _fork_for_each_request(channel)) is not None:
        _run(engine)


def _fork_for_each_request(channel: socket.socket) -> Mapping[str, Any] | None:
    """Return None when the gateway has ended. In a forked process, return the engine that it shall run."""
    while True:
        message, files, _, _ = socket.recv_fds(channel, MAX_MESSAGE_BYTES, FILES_PER_REQUEST)
        if not message:
            return None
        request: Mapping[str, Any] = json.loads(message)
        pid = os.fork()
        if pid == 0:
            channel.close()
            _enter_guards(request, *files)
            return request
        for file in files:
            os.close(file)
        channel.send(json.dumps({"request": request["request"], "pid": pid}).encode())


def _enter_guards(request: Mapping[str, Any], lifeline: int, status_fd: int, log: int) -> None:
    """Make this process the outer guard, its child the inner guard, and return in the child of that."""
    os.setsid()
    setproctitle(f"smallfirst: guard of {request['command'][0]}")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _replace(STDIN, lifeline)
    os.dup2(log, STDERR)
    _replace(STDOUT, log)
    os.environ.clear()
    os.environ.update(request["env"])
    fork_under_guard(request["grace_s"], remove_after=request["remove_after"], status_fd=status_fd)
    os.close(status_fd)
    fork_under_guard(request["grace_s"])


def _run(request: Mapping[str, Any]) -> None:
    """Do what `python -m MODULE ARGUMENTS...` does."""
    module, *arguments = request["command"]
    if request["fork_children"]:
        _fork_instead_of_spawn()
    sys.argv = [module, *arguments]
    setproctitle(" ".join(["python", "-m", module, *arguments]))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _fork_instead_of_spawn() -> None:
    """Let the engine's own processes be forked too. On a CPU vLLM asks for `spawn`: each would import it again."""
    get_context = multiprocessing.get_context

    def get_forking_context(method: str | None = None) -> Any:
        return get_context("fork" if method == "spawn" else method)

    multiprocessing.get_context = get_forking_context


def _replace(target: int, file: int) -> None:
    os.dup2(file, target)
    os.close(file)


if __name__ == "__main__":
    main(sys.argv[1:])
