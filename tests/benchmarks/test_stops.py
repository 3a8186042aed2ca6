"""What each stop of a request's way costs, and the start: that it is the real way, and figures by hand."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

from benchmarks.load import LoadFailed
from benchmarks.machine import ROOT
from benchmarks.overhead import report, starts
from benchmarks.overhead.inprocess import Loop, World
from benchmarks.overhead.scenarios import SCENARIOS
from benchmarks.overhead.stops import CASES, rows
from benchmarks.overhead.way import WHOLE, Stop, way

ABOUT = {
    "date": "2026-01-01",
    "revision": "abc",
    "machine": {"cpu": "a CPU", "cores": 2, "kernel": "Linux 6", "python": "3.11"},
}


async def run(times: int) -> None:
    pass


def in_loop(main):
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main)


def test_a_stop_is_without_what_runs_along_and_the_rest_is_glue():
    stops = [
        Stop("a", run, ("aid",)),
        Stop("of a", run, kind="part"),
        Stop("b", run),
        Stop("aid", run, kind="aid"),
        Stop("all", run, kind="whole"),
    ]
    rounds = {"a": [5, 7, 6], "of a": [2, 2, 2], "b": [1, 3, 9], "aid": [1, 2, 2], "all": [20, 10, 30]}
    found = {row.name: (row.least, row.median) for row in rows(stops, rounds)}
    assert found == {
        "a": (4, 4),
        "of a": (2, 2),
        "b": (1, 3),
        "all stops": (5, 7),  # neither the part nor the aid
        "glue": (5, 13),
        "all": (10, 20),
    }


@pytest.mark.parametrize("name", CASES.values())
def test_each_stop_runs_in_a_world_that_answers_as_the_upstream_does(name, tmp_path):
    async def main():
        world = World(SCENARIOS[name], tmp_path)
        writes = await world.check()
        stops = await way(world)
        async with asyncio.timeout(10):
            for stop in stops:
                await stop.run(2)
        pools = world.resources.fleet.statuses()
        assert await world.check() == writes
        await world.close()
        return writes, stops, pools

    writes, stops, pools = in_loop(main())
    # of a stream: the role comes with the first word; [DONE] is last
    assert writes == (65 if SCENARIOS[name].script.stream else 1)
    assert stops[-1].name == WHOLE
    assert ("check" in {stop.name for stop in stops}) is SCENARIOS[name].schema
    assert {name for stop in stops for name in stop.less} <= {stop.name for stop in stops}
    assert sum(pool.in_flight for pool in pools) == 0


@pytest.mark.parametrize(
    ("piece", "said"),
    [
        (b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}", "answered b'HTTP/1.1 50"),
        (
            b'HTTP/1.1 200 OK\r\ncontent-length: 47\r\n\r\n{"choices":[{"finish_reason":"stop","index":0}]}',
            "answered b'",
        ),
    ],
)
def test_a_way_that_leads_elsewhere_is_not_measured(piece, said, tmp_path):
    async def main():
        world = World(SCENARIOS["whole-c1"], tmp_path)
        loop = asyncio.get_running_loop()
        loop.upstreams[1] = [piece]
        try:
            await world.check()
        finally:
            await world.close()

    with pytest.raises(LoadFailed, match=f"whole-c1: {said}"):
        in_loop(main())


def test_the_command_prints_a_table_and_writes_its_figures(tmp_path):
    file = tmp_path / "stops.json"
    command = [sys.executable, "-m", "benchmarks.overhead.stops", "--rounds=1", "--json", str(file)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    document = json.loads(file.read_text())
    assert {"date", "machine", "versions", "revision", "rounds"} <= document.keys()
    assert list(document["cases"]) == list(CASES)
    for case in document["cases"].values():
        *_, stops, glue, whole = case["rows"]
        assert [row["name"] for row in (stops, glue, whole)] == ["all stops", "glue", WHOLE]
        assert stops["least"] + glue["least"] == pytest.approx(whole["least"])
    assert f"| stop | {' | '.join(CASES)} |" in answer.stdout
    [check] = [line for line in answer.stdout.splitlines() if line.startswith("| check |")]
    assert check.startswith("| check |  |  |  |  | ")


def test_heavy_modules_are_found_by_their_package():
    assert starts.heavy(["json", "torch.nn", "aiohttp", "vllm_ish", "server.torch"]) == ["torch", "aiohttp"]


def test_the_gateway_serves_without_heavy_modules():
    modules = starts.imported()
    assert {"server.app", "server.processes.gateway", "uvicorn", "router.dispatch"} <= set(
        modules
    )  # it looked at the gateway
    assert starts.heavy(modules) == []


def test_a_start_that_fails_is_said(monkeypatch):
    monkeypatch.setattr(starts, "models_yaml", lambda upstream: {"models": {}})
    with pytest.raises(starts.StartFailed, match="models"):
        starts.imported()


@pytest.mark.parametrize(("heavy", "words"), [([], "none"), (["torch", "aiohttp"], "torch, aiohttp")])
def test_the_report_tells_the_start(heavy, words):
    found = starts.Starts({"passthrough": [0.3, 0.1, 0.2], "smallfirst": [1.0, 0.9, 3.0]}, heavy)
    about = ABOUT | {"starts": {"seconds": found.seconds, "heavy_modules": found.heavy_modules}}
    [line] = [line for line in report.as_markdown({}, about).splitlines() if line.startswith("From the command")]
    assert "`smallfirst serve` 1.00 (0.90-3.00) s, `passthrough` 0.20 (0.10-0.30) s." in line
    assert line.endswith(f"has imported by then: {words}.")
    assert "From the command" not in report.as_markdown({}, ABOUT)
