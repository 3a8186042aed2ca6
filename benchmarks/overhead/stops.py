"""`python -m benchmarks.overhead.stops`: the former name of `benchmarks.overhead.stages`."""

from __future__ import annotations

import sys

from benchmarks.overhead.stages import main

if __name__ == "__main__":
    sys.exit(main())
