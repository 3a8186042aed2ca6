"""The stages of a run: each model alone, what is learned from that, the cascade.

Every answer is kept as it comes, and a stage whose answers are all there starts nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from benchmarks.routing.live.extraction import SEED
from benchmarks.routing.live.tasks import Task
from benchmarks.structured import standin, tools
from benchmarks.structured.ask import Kept, ask_all, key
from benchmarks.structured.reply import Reply
from benchmarks.vllm.launch import StartFailed, launched

CONCURRENCY = 8
MIN_CONFIDENCES = (0.5, 0.8, 0.95)
ANSWERS, LABELLED, EVIDENCE = "answers.jsonl", "labelled.jsonl", "evidence.json"
ALONE, CASCADE = "alone.yaml", "cascade.yaml"

Say = Callable[[str], None]
Replies = Mapping[str, Reply]
"""by task"""


@dataclass(frozen=True, slots=True)
class Models:
    """A configuration with one route, on whose ladder stand two models."""

    config: Mapping[str, Any]
    small: str
    large: str
    route: str

    @classmethod
    def of(cls, config: Path, gguf: Path | None, say: Say) -> Models:
        """Take the first route's first and last model; with `gguf`, the stand-in is the last one.

        Raises:
            NoStandin: it is not there.
        """
        given = yaml.safe_load(config.read_text(encoding="utf-8"))
        ladder = next(iter(given["routes"].values()))["ladder"]
        small, large = ladder[0], ladder[-1]
        if gguf is not None:
            given, large = tools.models_yaml(given, small, standin.joined(gguf, say)), tools.STANDIN
        models = {name: given["models"][name] for name in (small, large)}
        return cls({"models": models}, small, large, "cascade")

    def write(self, file: Path, evidence: Path | None = None) -> None:
        """Write it for a gateway, with the cascade where there is evidence for it."""
        learned = {"policy": "cascade", "evidence": str(evidence.absolute())} if evidence else {}
        route = {"ladder": [self.small, self.large], **learned}
        file.write_text(yaml.safe_dump({**self.config, "routes": {self.route: route}}, sort_keys=False))


@dataclass(frozen=True, slots=True)
class Stages:
    """What the stages of one run share."""

    models: Models
    kept: Kept
    folder: Path
    """for configurations, logs, what is to be learned from, and what was learned"""
    say: Say

    async def alone(self, tasks: Sequence[Task]) -> dict[str, Replies]:
        """Ask each model every task; return the answers, with their logprobs, by model."""
        self.models.write(self.folder / ALONE)
        ways = {name: {"model": name, "logprobs": True} for name in (self.models.small, self.models.large)}
        return await self._ask(ways, tasks, ALONE)

    async def learn(self, tasks: Sequence[Task], answers: Mapping[str, Replies], flags: Sequence[str] = ()) -> str:
        """Calibrate on the tasks that are not held out, by the command itself; return the table that it prints.

        `flags` are those of the command.

        Raises:
            StartFailed: it could not.
        """
        lines = [json.dumps(labelled(task, {name: of[task.id] for name, of in answers.items()})) for task in tasks
                 if not task.held_out]  # fmt: skip
        (self.folder / LABELLED).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        self.models.write(self.folder / ALONE)
        self.say(f"calibrating on {len(lines)} tasks")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server.cli", "calibrate", f"--config={self.folder / ALONE}"),
            *(f"--data={self.folder / LABELLED}", f"--out={self.folder / EVIDENCE}", *flags),
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await process.communicate()
        if process.returncode:
            raise StartFailed(f"`smallfirst calibrate` ended with status {process.returncode}")
        return told.decode()

    async def cascade(
        self,
        wishes: Mapping[str, Mapping[str, Any]],
        tasks: Sequence[Task],
        *,
        concurrency: int = CONCURRENCY,
        together: bool = False,
    ) -> dict[str, Replies]:
        """Ask the cascade every task in each way; return the answers by way.

        Args:
            wishes: what the requests have beside the task, by way.
            tasks: what to ask.
            concurrency: requests at a time.
            together: the ways take turns, in any order for each task, so that all of them see the same load.
        """
        self.models.write(self.folder / CASCADE, self.folder / EVIDENCE)
        learned_from = sha256((self.folder / LABELLED).read_bytes()).hexdigest()[:8]
        ways = {f"{name} {learned_from}": {"model": self.models.route, **extra} for name, extra in wishes.items()}
        found = await self._ask(ways, tasks, CASCADE, concurrency, together=together)
        return dict(zip(wishes, found.values(), strict=True))

    async def _ask(
        self,
        ways: Mapping[str, Mapping[str, Any]],
        tasks: Sequence[Task],
        config: str,
        concurrency: int = CONCURRENCY,
        *,
        together: bool = False,
    ) -> dict[str, Replies]:
        """Ask every task in each way, by a gateway that is started only if an answer is lacking."""
        bodies = {(way, task.id): _body(way, task, extra) for way, extra in ways.items() for task in tasks}
        keys = {asked: key(*asked, body) for asked, body in bodies.items()}
        if any(self.kept.get(one) is None for one in keys.values()):
            self.say(f"starting smallfirst serve --config {config}")
            file = self.folder / config
            async with launched(file, file.with_suffix(".log"), self.say) as started:
                self.say(f"  ready after {started.started_in_s:.0f} s")
                for turn in [list(ways)] if together else [[way] for way in ways]:
                    self.say(f"{', '.join(turn)}: {len(tasks)} tasks")
                    draw = random.Random(SEED)
                    order = [(way, task.id) for task in tasks for way in draw.sample(turn, len(turn))]
                    of_turn = {keys[asked]: bodies[asked] for asked in order}
                    await ask_all(started.root, of_turn, self.kept, concurrency=concurrency, say=self.say)
        return {way: {task.id: reply for task in tasks if (reply := self.kept.get(keys[way, task.id]))} for way in ways}


def labelled(task: Task, replies: Mapping[str, Reply]) -> dict[str, Any]:
    """Return a task and its graded answers as `smallfirst calibrate` takes them."""
    answers = {
        name: {"quality": task.quality(reply)}
        | ({"choice": reply.choice} if reply.choice else {})
        | ({"usage": reply.usage} if reply.usage else {})
        for name, reply in replies.items()
    }
    return {"request": task.asked, "answers": answers} | ({"task": task.name} if task.name else {})


def _body(way: str, task: Task, extra: Mapping[str, Any]) -> dict[str, Any]:
    routing = extra.get("routing", {}) | ({"task": task.name} if task.name else {})
    # what one way has put into an engine's prefix cache must not make the next one cheaper
    return {**extra, **task.asked, "cache_salt": way} | ({"routing": routing} if routing else {})
