"""Start the installed server in a network namespace with only a loopback device, and send a request.

    python3 scripts/no_network.py [FOLDER]

FOLDER is a checkout in which `make serve` has been run before (default: this checkout).
"""

from __future__ import annotations

# ruff: noqa: S603 - the commands are our own
import fcntl
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

from installer import ROOT, print_line
from server_process import ServerProcess

PORT = 8399
INSIDE = "--inside"
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1  # linux/sockios.h, linux/if.h


def main() -> None:
    """Enter the namespace, start the server there and send it a request.

    Raises:
        SystemExit: something was installed or converted again, or there was no answer.
    """
    if INSIDE not in sys.argv:
        command = ["unshare", "--net", "--map-root-user", sys.executable, __file__, INSIDE, *sys.argv[1:]]
        sys.exit(subprocess.run(command, check=False).returncode)
    folder = Path(sys.argv[-1]) if len(sys.argv) > 2 else ROOT
    bring_loopback_up()
    if [name for _, name in socket.if_nameindex() if name != "lo"]:
        raise SystemExit("this network namespace is not empty")
    with ServerProcess(folder, PORT, os.environ) as server:
        seconds = server.wait_until_ready()
        print_line(server.run_printed_curl())
    repeated = [line for line in server.lines if "==>" in line or "converting" in line]
    if repeated:
        raise SystemExit(f"installed or converted again, without a network: {repeated}")
    print_line(f"ready after {seconds:.0f} s without a network; nothing was installed or converted")


def bring_loopback_up() -> None:
    """Do the same as `ip link set lo up`, whose package may be missing on Debian."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


if __name__ == "__main__":
    main()
