"""Do what a new user does: clone into an empty folder, `make serve`, ask, Ctrl-C; then again without a network.

    python3 scripts/fresh_clone.py

Takes minutes: everything is installed anew, from the package index, with empty caches.
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
    """Try it, and say how long it took.

    Raises:
        SystemExit: what a new user is promised does not hold.
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
            raise SystemExit(f"it was silent for {server.longest_silence_s:.0f} s")
        print_line(f"ready after {seconds:.0f} s, never silent for more than {server.longest_silence_s:.0f} s")
        subprocess.run([sys.executable, ROOT / "scripts/no_network.py", clone], check=True)
        if left := processes_in_folder(base):
            raise SystemExit(f"left running after Ctrl-C: {left}")


if __name__ == "__main__":
    main()
