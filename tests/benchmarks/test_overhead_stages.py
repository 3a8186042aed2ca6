"""What each stage of a request costs, and the startup: the path is real, and the figures are checked by hand."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

from benchmarks.common.load import LoadFailed
from benchmarks.common.machine import ROOT
from benchmarks.overhead import report, startup
from benchmarks.overhead.inprocess import InProcessGateway, SocketlessLoop
from benchmarks.overhead.request_path import WHOLE, Stage, request_path
from benchmarks.overhead.scenarios import SCENARIOS
from benchmarks.overhead.stages import CASES, rows

ABOUT = {
    "date": "2026-01-01",
    "revision": "abc",
    "machine": {"cpu": "a CPU", "cores": 2, "kernel": "Linux 6", "python": "3.11"},
}


async def run(times: int) -> None:
    pass


def in_loop(main):
    with asyncio.Runner(loop_factory=SocketlessLoop) as runner:
        return runner.run(main)


def test_a_stop_is_without_what_runs_along_and_the_rest_is_glue():
    stages = [
        Stage("a", run, ("harness",)),
        Stage("of a", run, kind="part"),
        Stage("b", run),
        Stage("harness", run, kind="harness"),
        Stage("all", run, kind="whole"),
    ]
    rounds = {"a": [5, 7, 6], "of a": [2, 2, 2], "b": [1, 3, 9], "harness": [1, 2, 2], "all": [20, 10, 30]}
    found = {row.name: (row.least, row.median) for row in rows(stages, rounds)}
    assert found == {
        "a": (4, 4),
        "of a": (2, 2),
        "b": (1, 3),
        "all stages": (5, 7),  # neither the part nor the harness
        "glue": (5, 13),
        "all": (10, 20),
    }


@pytest.mark.parametrize("name", CASES.values())
def test_each_stop_runs_in_a_world_that_answers_as_the_upstream_does(name, tmp_path):
    async def main():
        gateway = InProcessGateway(SCENARIOS[name], tmp_path)
        writes = await gateway.check()
        stages = await request_path(gateway)
        async with asyncio.timeout(60):
            for stage in stages:
                await stage.run(2)
        pools = gateway.resources.fleet.statuses()
        assert await gateway.check() == writes
        await gateway.close()
        return writes, stages, pools

    writes, stages, pools = in_loop(main())
    # of a stream: the role comes with the first word; [DONE] is last
    assert writes == (65 if SCENARIOS[name].script.stream else 1)
    assert stages[-1].name == WHOLE
    assert ("check" in {stage.name for stage in stages}) is SCENARIOS[name].schema
    assert {name for stage in stages for name in stage.less} <= {stage.name for stage in stages}
    assert sum(pool.in_flight for pool in pools) == 0


@pytest.mark.parametrize(
    ("piece", "said"),
    [
        (b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}", "answered b'HTTP/1.1 50"),
        (
            b'HTTP/1.1 200 OK\r\ncontent-length: 47\r\n\r\n{"choices":[{"finish_reason":"stage","index":0}]}',
            "answered b'",
        ),
    ],
)
def test_a_request_with_another_answer_is_not_measured(piece, said, tmp_path):
    async def main():
        gateway = InProcessGateway(SCENARIOS["whole-c1"], tmp_path)
        loop = asyncio.get_running_loop()
        loop.upstreams[1] = [piece]
        try:
            await gateway.check()
        finally:
            await gateway.close()

    with pytest.raises(LoadFailed, match=f"whole-c1: {said}"):
        in_loop(main())


def test_the_command_prints_a_table_and_writes_its_figures(tmp_path):
    file = tmp_path / "stages.json"
    command = [sys.executable, "-m", "benchmarks.overhead.stages", "--rounds=1", "--json", str(file)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert answer.returncode == 0, answer.stderr
    document = json.loads(file.read_text())
    assert {"date", "machine", "versions", "revision", "rounds"} <= document.keys()
    assert list(document["cases"]) == list(CASES)
    for case in document["cases"].values():
        *_, stages, glue, whole = case["rows"]
        assert [row["name"] for row in (stages, glue, whole)] == ["all stages", "glue", WHOLE]
        assert stages["least"] + glue["least"] == pytest.approx(whole["least"])
    assert f"| stage | {' | '.join(CASES)} |" in answer.stdout
    [check] = [line for line in answer.stdout.splitlines() if line.startswith("| check |")]
    assert check.startswith("| check |  |  |  |  | ")


def test_heavy_modules_are_found_by_their_package():
    assert startup.heavy(["json", "torch.nn", "aiohttp", "vllm_ish", "server.torch"]) == ["torch", "aiohttp"]


def test_the_gateway_serves_without_heavy_modules():
    modules = startup.imported()
    assert {"server.app", "server.processes.gateway", "uvicorn", "router.dispatch"} <= set(
        modules
    )  # it looked at the gateway
    assert startup.heavy(modules) == []


def test_a_start_that_fails_is_reported(monkeypatch):
    monkeypatch.setattr(startup, "models_yaml", lambda upstream: {"models": {}})
    with pytest.raises(startup.StartFailed, match="models"):
        startup.imported()


@pytest.mark.parametrize(("heavy", "words"), [([], "none"), (["torch", "aiohttp"], "torch, aiohttp")])
def test_the_report_has_the_startup_times(heavy, words):
    found = startup.StartupTimes({"passthrough": [0.3, 0.1, 0.2], "smallfirst": [1.0, 0.9, 3.0]}, heavy)
    about = ABOUT | {"starts": {"seconds": found.seconds, "heavy_modules": found.heavy_modules}}
    [line] = [line for line in report.as_markdown({}, about).splitlines() if line.startswith("Time from the command")]
    assert "`smallfirst serve` 1.00 (0.90-3.00) s, `passthrough` 0.20 (0.10-0.30) s." in line
    assert line.endswith(f"has imported by then: {words}.")
    assert "Time from the command" not in report.as_markdown({}, ABOUT)
