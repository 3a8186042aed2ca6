"""Only loopback is asked in tests: no proxy of the environment may come between."""

from __future__ import annotations

import os

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
