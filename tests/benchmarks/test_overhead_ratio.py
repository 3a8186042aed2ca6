"""The guard: what a request costs, in CPU, over what it costs a bare pass-through in the same run.

A ratio of CPU times, never a time, and of the least disturbed round: it holds on a slow machine and on a busy one. When
it fails, a change made the hot path dearer; `python -m benchmarks.overhead --scenarios headline --checkout before=DIR`
says by how much.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from benchmarks.overhead.measure import Target, interleave, separate_cpus
from benchmarks.overhead.processes import MeasuredProcesses
from benchmarks.overhead.report import figures
from benchmarks.overhead.scenarios import SCENARIOS

LIMITS = {"whole-c1": 3.3, "whole-c8": 6.0, "stream64-c8": 2.5, "stream64-c1": 2.2}
"""About one and a half times the usual 2.1, 3.3, 1.1 and 1.4 (docs/benchmarks/overhead). At 8 streams the ratio moves
with what else the machine does: the pass-through then reads more events at a time."""
if len(os.sched_getaffinity(0)) == 1:
    # Client and upstream cannot be kept apart from the gateway there, and events come in heaps: the pass-through pays
    # for the heap, we for each event. Beside a busy loop it was 3.3 at best.
    LIMITS |= {"stream64-c8": 8.0, "stream64-c1": 8.0}
REQUESTS = {"whole-c1": 200, "whole-c8": 400, "stream64-c8": 120, "stream64-c1": 80}
ROUNDS = 7


@pytest.fixture(scope="module")
def targets(tmp_path_factory) -> Iterator[list[Target]]:
    folder: Path = tmp_path_factory.mktemp("overhead")
    with MeasuredProcesses(folder) as started:
        upstream = started.upstream(port=0, pause_ms=5)
        gateways = [started.passthrough(upstream.base_url), started.smallfirst("smallfirst", upstream.base_url)]
        with separate_cpus([upstream.pid], [gateway.pid for gateway in gateways]):
            yield gateways


@pytest.mark.parametrize("name", LIMITS)
def test_a_request_costs_a_bounded_multiple_of_a_bare_pass_through(targets, name):
    scenario = replace(SCENARIOS[name], requests=REQUESTS[name])
    rounds = uvloop.run(interleave(scenario, targets, ROUNDS, print))
    found = figures(rounds, "smallfirst")
    print(f"{name}: CPU over the pass-through's: {found.cpu_ratio.show(2)}; limit {LIMITS[name]}")
    assert found.cpu_ratio.low < LIMITS[name]
