"""The command `python -m benchmarks.overhead`; see benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import machine
from benchmarks.load import LoadFailed
from benchmarks.overhead import picture, report, starts
from benchmarks.overhead.measure import Sample, Target, apart, interleave
from benchmarks.overhead.processes import Started, StartFailed, takes_workers
from benchmarks.overhead.scenarios import HEADLINE, SCENARIOS, WORKERS, Scenario
from benchmarks.overhead.upstream import PAUSE_MS

PACKAGES = ("uvicorn", "uvloop", "httptools", "aiohttp", "fastapi", "starlette", "pydantic", "msgspec", "orjson")
ROUNDS, QUICK_ROUNDS, QUICK_SHARE = 5, 3, 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    scenarios = _chosen(arguments.scenarios)
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    if arguments.workers and not takes_workers():
        raise SystemExit("--workers: `smallfirst serve` of this checkout does not have it")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        results, started = _run(arguments, scenarios, rounds)
    except (LoadFailed, StartFailed) as error:
        _say(f"no figures: {error}")
        return 1
    parameters = {name: _plain(value) for name, value in vars(arguments).items() if value}
    about = machine.describe(PACKAGES) | {"parameters": parameters | {"rounds": rounds}}
    about["checkouts"] = {name: machine.revision(folder) for name, folder in arguments.checkout}
    if started:
        about["starts"] = asdict(started)
    table = report.as_markdown(results, about)
    print(table)
    if arguments.out:
        (arguments.out / "report.md").write_text(table, encoding="utf-8")
        document = json.dumps(report.as_json(results, about), indent=1)
        (arguments.out / "report.json").write_text(document + "\n", encoding="utf-8")
        try:
            picture.draw(results, arguments.out / "report.png")
        except picture.NoMatplotlib as error:
            _say(str(error))
        _say(f"written to {arguments.out}: {', '.join(sorted(path.name for path in arguments.out.glob('report.*')))}")
    return 0


def _run(
    arguments: argparse.Namespace, scenarios: Sequence[Scenario], rounds: int
) -> tuple[report.Results, starts.Starts | None]:
    """Start everything, then measure."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, Started(Path(folder)) as started:
        upstream = None if arguments.upstream else started.upstream(arguments.upstream_port, arguments.pause_ms)
        direct = upstream or Target("direct", arguments.upstream)
        _say(f"upstream: {direct.base_url}; its models: see benchmarks/overhead/answers.py")
        pids = dict(arguments.also_pid)
        others = [Target(name, url, pids.get(name)) for name, url in arguments.also]
        always = [direct, started.passthrough(direct.base_url)]
        checkouts = [("smallfirst", machine.ROOT), *arguments.checkout]

        def gateways(*, key: bool) -> list[Target]:
            return [started.smallfirst(name, direct.base_url, checkout=path, key=key) for name, path in checkouts]

        targets = {
            key: [*always, *gateways(key=key), *others] for key in {scenario.key for scenario in scenarios}
        }  # fmt: skip
        workers = [
            started.smallfirst(f"{count} worker{'s' * (count > 1)}", direct.base_url, workers=count)
            for count in arguments.workers
        ]
        load = [(_sized(scenario, arguments.quick), targets[scenario.key]) for scenario in scenarios]
        more = [(_sized(scenario, arguments.quick), workers) for scenario in WORKERS.values() if workers]
        measured = {target.pid for _, chosen in load for target in chosen if target.pid and target is not direct}
        with apart([direct.pid] if direct.pid else [], list(measured)):
            results = uvloop.run(_measure(load, rounds))
        results |= uvloop.run(_measure(more, rounds))  # not apart: the workers need all CPUs there are
        often = arguments.starts
        if often is None:
            often = starts.QUICK_STARTS if arguments.quick else starts.STARTS
        return results, starts.measure(direct.base_url, often, _say) if often else None


async def _measure(
    load: Iterable[tuple[Scenario, Sequence[Target]]], rounds: int
) -> dict[str, Mapping[str, Sequence[Sample]]]:
    return {scenario.name: await interleave(scenario, targets, rounds, _say) for scenario, targets in load}


def _sized(scenario: Scenario, quick: bool) -> Scenario:
    fewer = max(scenario.connections, scenario.requests // QUICK_SHARE)
    return replace(scenario, requests=fewer) if quick else scenario


def _chosen(names: str) -> list[Scenario]:
    wanted = names.split(",") if names else list(SCENARIOS)
    wanted = [name for given in wanted for name in (HEADLINE if given == "headline" else (given,))]
    if unknown := [name for name in wanted if name not in SCENARIOS]:
        raise SystemExit(f"--scenarios: unknown: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    return [SCENARIOS[name] for name in wanted]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description="What a gateway costs.")
    add = parser.add_argument
    add("--scenarios", metavar="NAME,...", default="", help=f"of {', '.join(SCENARIOS)}; or headline (default: all)")
    add("--rounds", type=int, metavar="N", help=f"default: {ROUNDS}; with --quick {QUICK_ROUNDS}")
    add("--quick", action="store_true", help=f"1/{QUICK_SHARE} of the requests, and fewer rounds")
    add("--starts", type=int, metavar="N",
        help=f"measure so many starts; 0: none (default: {starts.STARTS}, --quick: {starts.QUICK_STARTS})")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="write report.json, report.md and report.png there")
    add("--upstream", metavar="URL", help="a scripted upstream that runs already, with /v1")
    add("--upstream-port", type=int, default=0, metavar="PORT", help="of the one that is started (default: any)")
    add("--pause-ms", type=float, default=PAUSE_MS, help=f"between the events of paced64 (default: {PAUSE_MS:g})")
    add("--also", type=_pair, action="append", default=[], metavar="NAME=URL",
        help="another gateway, with /v1, in front of the same upstream")  # fmt: skip
    add("--also-pid", type=_pid, action="append", default=[], metavar="NAME=PID", help="its process, for its CPU")
    add("--checkout", type=_checkout, action="append", default=[], metavar="NAME=DIR",
        help="smallfirst as it is in another folder, for instance before a change")  # fmt: skip
    add(
        "--workers",
        type=_counts,
        default=[],
        metavar="N,...",
        help="compare so many worker processes, for instance 1,2",
    )
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _pid(text: str) -> tuple[str, int]:
    name, value = _pair(text)
    return name, int(value)


def _checkout(text: str) -> tuple[str, Path]:
    name, value = _pair(text)
    if not (Path(value) / "server" / "cli.py").is_file():
        raise argparse.ArgumentTypeError(f"{value} is no checkout of smallfirst: it has no server/cli.py")
    return name, Path(value).absolute()


def _counts(text: str) -> list[int]:
    return [int(count) for count in text.split(",")]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
