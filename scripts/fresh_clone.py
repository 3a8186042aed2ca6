"""Repeat a new user's steps: clone, `make serve`, send a request, Ctrl-C; then start again without a network.

    python3 scripts/fresh_clone.py

It takes minutes, because everything is installed from the package index with empty caches.
"""

from __future__ import annotations

# ruff: noqa: S603, S607 - the commands are our own
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from installer import ROOT, print_line
from server_process import ServerProcess, processes_in_folder

PORT = 8398
MAX_SILENCE_S = 60.0


def main() -> None:
    """Run the steps and print how long they took.

    Raises:
        SystemExit: a step failed, a process was left running, or the output stopped for too long.
    """
    with tempfile.TemporaryDirectory(prefix="fresh-clone-") as temporary:
        base = Path(temporary)
        clone = base / "smallfirst"
        os.environ |= {"SMALLFIRST_STATE_DIR": str(base / "state"), "XDG_CACHE_HOME": str(base / "cache")}
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(base / "cache/torchinductor")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        with ServerProcess(clone, PORT, os.environ) as server:
            seconds = server.wait_until_ready()
            print_line(server.run_printed_curl())
        if left := processes_in_folder(base):
            raise SystemExit(f"left running after Ctrl-C: {left}")
        if server.longest_silence_s > MAX_SILENCE_S:
            raise SystemExit(f"there was no output for {server.longest_silence_s:.0f} s")
        print_line(f"ready after {seconds:.0f} s, longest time without output {server.longest_silence_s:.0f} s")
        subprocess.run([sys.executable, ROOT / "scripts/no_network.py", clone], check=True)
        if left := processes_in_folder(base):
            raise SystemExit(f"left running after Ctrl-C: {left}")


if __name__ == "__main__":
    main()
