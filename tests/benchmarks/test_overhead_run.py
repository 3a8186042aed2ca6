"""The command itself, and what it does to the processes that it measures."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
import uvloop

from benchmarks.common.load import LoadFailed
from benchmarks.common.machine import ROOT
from benchmarks.overhead import __main__ as command
from benchmarks.overhead.measure import Target, separate_cpus, warm_up
from benchmarks.overhead.processes import MeasuredProcesses
from benchmarks.overhead.scenarios import SCENARIOS


def test_a_run_writes_its_report(tmp_path):
    names = "whole-c1,json64-c1,whole-c8-nokey"
    arguments = ["--scenarios", names, "--quick", "--rounds=1", "--out", str(tmp_path)]
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.overhead", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert [scenario["name"] for scenario in report["scenarios"]] == names.split(",")
    assert {"date", "machine", "versions", "revision", "parameters"} <= report.keys()
    for scenario in report["scenarios"]:
        targets = scenario["targets"]
        assert list(targets) == ["direct", "passthrough", "smallfirst"]
        assert all(len(target["rounds"]) == 1 for target in targets.values())
        assert 10 < targets["passthrough"]["rounds"][0]["cpu_us"] < targets["smallfirst"]["rounds"][0]["cpu_us"]
    assert "| smallfirst |" in (tmp_path / "report.md").read_text()
    assert answer.stdout.startswith("# What a gateway costs per request")


def test_a_run_with_errors_has_no_figures_and_says_where(tmp_path, capsys):
    arguments = ["--scenarios=whole-c1", "--quick", "--rounds=1", "--also=nobody=http://127.0.0.1:9/v1"]
    assert command.main([*arguments, "--out", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "no figures: whole-c1, nobody: 10 of 10 answers had an error; the first: no connection" in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


class Liar(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{"choices":[{"message":{"content":"something else"}}]}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def test_a_gateway_that_changes_the_text_is_not_measured():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = Target("liar", f"http://127.0.0.1:{server.server_port}/v1")
        with pytest.raises(LoadFailed, match="whole-c1, liar: answered 'something else', expected ' Paris is"):
            uvloop.run(warm_up(target, SCENARIOS["whole-c1"]))
        server.shutdown()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one CPU only")
def test_client_and_upstream_are_kept_apart_from_gateways(tmp_path):
    everywhere = os.sched_getaffinity(0)
    first = {min(everywhere)}
    with MeasuredProcesses(tmp_path) as started:
        upstream = started.upstream(0, pause_ms=5)
        gateway = started.passthrough(upstream.base_url)
        with separate_cpus([upstream.pid], [gateway.pid]):
            assert os.sched_getaffinity(0) == os.sched_getaffinity(upstream.pid) == first
            assert os.sched_getaffinity(gateway.pid) == everywhere - first
        for pid in (0, upstream.pid, gateway.pid):
            assert os.sched_getaffinity(pid) == everywhere


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenarios=whole-c9"], "--scenarios: unknown: whole-c9; there are whole-c1, "),
        (["--also=nobody"], "expected NAME=VALUE, got 'nobody'"),
        (["--also-pid=x=y"], "invalid"),
        (["--checkout=old=/nowhere"], "/nowhere is no checkout of smallfirst"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert message in f"{stopped.value}{capsys.readouterr().err}"
