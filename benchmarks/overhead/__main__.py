"""The command `python -m benchmarks.overhead`; see benchmarks/README.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.common import machine
from benchmarks.common.command import say_on_stderr
from benchmarks.common.load import LoadFailed
from benchmarks.common.processes import StartFailed
from benchmarks.common.report import Renderer, write
from benchmarks.overhead import options, plot, report, startup
from benchmarks.overhead.measure import Sample, Target, interleave, separate_cpus
from benchmarks.overhead.processes import MeasuredProcesses, takes_workers
from benchmarks.overhead.scenarios import WORKERS, Scenario

PACKAGES = ("uvicorn", "uvloop", "httptools", "aiohttp", "fastapi", "starlette", "pydantic", "msgspec", "orjson")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = options.parse(argv)
    if arguments.workers and not takes_workers():
        raise SystemExit("--workers: `smallfirst serve` of this checkout does not have it")
    try:
        results, started = _measure(arguments)
    except (LoadFailed, StartFailed) as error:
        say_on_stderr(f"no figures: {error}")
        return 1
    about = _about(arguments, started)
    tables = report.as_markdown(results, about)
    print(tables)
    if arguments.out:
        renderer = Renderer(lambda *_: tables, lambda _, file: plot.draw(results, file))
        write(report.as_json(results, about), arguments.out, renderer, say_on_stderr)
    return 0


def _about(arguments: argparse.Namespace, started: startup.StartupTimes | None) -> dict[str, Any]:
    parameters = {name: _plain(value) for name, value in vars(arguments).items() if value}
    about = machine.describe(PACKAGES) | {"parameters": parameters}
    about["checkouts"] = {name: machine.revision(folder) for name, folder in arguments.checkout}
    return about | ({"starts": asdict(started)} if started else {})


def _measure(arguments: argparse.Namespace) -> tuple[report.Results, startup.StartupTimes | None]:
    """Start every target, then measure the scenarios and the startup."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, MeasuredProcesses(Path(folder)) as started:
        upstream = None if arguments.upstream else started.upstream(arguments.upstream_port, arguments.pause_ms)
        direct = upstream or Target("direct", arguments.upstream)
        say_on_stderr(f"upstream: {direct.base_url}; its models: see benchmarks/overhead/answers.py")
        targets = _targets(arguments, started, direct)
        workers = [
            started.smallfirst(f"{count} worker{'s' * (count > 1)}", direct.base_url, workers=count)
            for count in arguments.workers
        ]
        load = [(_sized(scenario, arguments.quick), targets[scenario.key]) for scenario in arguments.scenarios]
        more = [(_sized(scenario, arguments.quick), workers) for scenario in WORKERS.values() if workers]
        gateways = {target.pid for _, chosen in load for target in chosen if target.pid and target is not direct}
        with separate_cpus([direct.pid] if direct.pid else [], list(gateways)):
            results = uvloop.run(_interleave(load, arguments.rounds))
        results |= uvloop.run(_interleave(more, arguments.rounds))  # on all CPUs: the workers need them
        count = arguments.starts
        return results, startup.measure(direct.base_url, count, say_on_stderr) if count else None


def _targets(arguments: argparse.Namespace, started: MeasuredProcesses, direct: Target) -> dict[bool, list[Target]]:
    """Return the targets of the scenarios with a client key, and of those without."""
    pids = dict(arguments.also_pid)
    others = [Target(name, url, pids.get(name)) for name, url in arguments.also]
    always = [direct, started.passthrough(direct.base_url)]
    checkouts = [("smallfirst", machine.ROOT), *arguments.checkout]
    return {
        key: [
            *always,
            *(started.smallfirst(name, direct.base_url, checkout=path, key=key) for name, path in checkouts),
            *others,
        ]
        for key in {scenario.key for scenario in arguments.scenarios}
    }


async def _interleave(
    load: Iterable[tuple[Scenario, Sequence[Target]]], rounds: int
) -> dict[str, Mapping[str, Sequence[Sample]]]:
    return {scenario.name: await interleave(scenario, targets, rounds, say_on_stderr) for scenario, targets in load}


def _sized(scenario: Scenario, quick: bool) -> Scenario:
    fewer = max(scenario.connections, scenario.requests // options.QUICK_SHARE)
    return replace(scenario, requests=fewer) if quick else scenario


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Scenario):
        return value.name
    return str(value) if isinstance(value, Path) else value


if __name__ == "__main__":
    sys.exit(main())
