"""The stages of a run: each model alone, calibration on its answers, and the cascade.

Every answer is stored at once. If a stage has all its answers, it starts no gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.common.gateway import Start, running_gateway
from benchmarks.common.processes import StartFailed, scratch_folder
from benchmarks.common.report import Say
from benchmarks.routing.live.extraction import SEED
from benchmarks.routing.live.tasks import Task
from benchmarks.structured import standin, tools
from benchmarks.structured.client import AnswerStore, answer_key, ask_all
from benchmarks.structured.reply import Reply

CONCURRENCY = 8
MIN_CONFIDENCES = (0.5, 0.8, 0.95)
ANSWERS, LABELLED, EVIDENCE = "answers.jsonl", "labelled.jsonl", "evidence.json"
ALONE, CASCADE = "alone.yaml", "cascade.yaml"

Replies = Mapping[str, Reply]
"""task id -> reply"""


@dataclass(frozen=True, slots=True)
class Models:
    """A configuration with two models on the ladder of one route."""

    config: Mapping[str, Any]
    small: str
    large: str
    route: str

    @classmethod
    def of(cls, config: Path, gguf: Path | None, say: Say) -> Models:
        """Take the first and the last model of the first route; with `gguf`, the stand-in is the last one.

        Raises:
            NoStandin: it is missing.
        """
        given = yaml.safe_load(config.read_text(encoding="utf-8"))
        ladder = next(iter(given["routes"].values()))["ladder"]
        small, large = ladder[0], ladder[-1]
        if gguf is not None:
            given, large = tools.models_yaml(given, small, standin.joined(gguf, say)), tools.STANDIN
        models = {name: given["models"][name] for name in (small, large)}
        return cls({"models": models}, small, large, "cascade")

    def described(self) -> dict[str, Any]:
        """Return the models and their prices for a report."""
        prices = {name: entry.get("price") for name, entry in self.config["models"].items()}
        return {"small": self.small, "large": self.large, "prices": prices}

    def write(self, file: Path, evidence: Path | None = None) -> None:
        """Write it for a gateway, with the cascade policy if there is evidence."""
        learned = {"policy": "cascade", "evidence": str(evidence.absolute())} if evidence else {}
        route = {"ladder": [self.small, self.large], **learned}
        file.write_text(yaml.safe_dump({**self.config, "routes": {self.route: route}}, sort_keys=False))


class Ordering(NamedTuple):
    """How the requests of a stage are sent."""

    config: str
    """the gateway's configuration file"""
    concurrency: int = CONCURRENCY
    together: bool = False
    """whether the variants take turns, or come one after the other"""


@contextlib.contextmanager
def stages(options: argparse.Namespace, say: Say) -> Iterator[Stages]:
    """Yield the stages with the models of the command line and the answers that are already in its folder.

    Raises:
        NoStandin: it is missing.
    """
    models = Models.of(options.config, options.fallback_gguf, say)
    with scratch_folder(say) as folder:
        yield Stages(models, AnswerStore(options.out / ANSWERS), folder, say)


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of one run, and what they share."""

    models: Models
    store: AnswerStore
    folder: Path
    """for configurations, logs, labelled answers and evidence"""
    say: Say

    async def alone(self, tasks: Sequence[Task]) -> dict[str, Replies]:
        """Ask each model every task; return the answers with their logprobs by model."""
        self.models.write(self.folder / ALONE)
        variants = {name: {"model": name, "logprobs": True} for name in (self.models.small, self.models.large)}
        return await self._ask(variants, tasks, Ordering(ALONE))

    async def learn(self, tasks: Sequence[Task], answers: Mapping[str, Replies], flags: Sequence[str] = ()) -> str:
        """Run `smallfirst calibrate` on the tasks that are not held out; return the table that it prints.

        `flags` are options of the command.

        Raises:
            StartFailed: it failed.
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
        output, _ = await process.communicate()
        if process.returncode:
            raise StartFailed(f"`smallfirst calibrate` ended with status {process.returncode}")
        return output.decode()

    async def cascade(
        self,
        variants: Mapping[str, Mapping[str, Any]],
        tasks: Sequence[Task],
        *,
        concurrency: int = CONCURRENCY,
        together: bool = False,
    ) -> dict[str, Replies]:
        """Ask the cascade every task in each variant; return the answers by variant.

        Args:
            variants: name -> fields that are added to the requests.
            tasks: the tasks to ask.
            concurrency: requests at a time.
            together: the variants take turns, in a random order for each task, so that all have the same load.
        """
        self.models.write(self.folder / CASCADE, self.folder / EVIDENCE)
        learned_from = sha256((self.folder / LABELLED).read_bytes()).hexdigest()[:8]
        named = {f"{name} {learned_from}": {"model": self.models.route, **extra} for name, extra in variants.items()}
        found = await self._ask(named, tasks, Ordering(CASCADE, concurrency, together))
        return dict(zip(variants, found.values(), strict=True))

    async def _ask(
        self, variants: Mapping[str, Mapping[str, Any]], tasks: Sequence[Task], ordering: Ordering
    ) -> dict[str, Replies]:
        """Ask every task in each variant; start a gateway only if an answer is missing."""
        bodies = {(name, task.id): _body(name, task, extra) for name, extra in variants.items() for task in tasks}
        keys = {asked: answer_key(*asked, body) for asked, body in bodies.items()}
        if any(self.store.get(one) is None for one in keys.values()):
            file = self.folder / ordering.config
            async with running_gateway(Start(file, file.with_suffix(".log")), self.say) as started:
                for turn in [list(variants)] if ordering.together else [[name] for name in variants]:
                    self.say(f"{', '.join(turn)}: {len(tasks)} tasks")
                    draw = random.Random(SEED)
                    order = [(name, task.id) for task in tasks for name in draw.sample(turn, len(turn))]
                    of_turn = {keys[asked]: bodies[asked] for asked in order}
                    await ask_all(started.root, of_turn, self.store, concurrency=ordering.concurrency, say=self.say)
        return {
            name: {task.id: reply for task in tasks if (reply := self.store.get(keys[name, task.id]))}
            for name in variants
        }


def labelled(task: Task, replies: Mapping[str, Reply]) -> dict[str, Any]:
    """Return a task and its graded answers in the form that `smallfirst calibrate` reads."""
    answers = {
        name: {"quality": task.quality(reply)}
        | ({"choice": reply.choice} if reply.choice else {})
        | ({"usage": reply.usage} if reply.usage else {})
        for name, reply in replies.items()
    }
    return {"request": task.asked, "answers": answers} | ({"task": task.name} if task.name else {})


def _body(variant: str, task: Task, extra: Mapping[str, Any]) -> dict[str, Any]:
    routing = extra.get("routing", {}) | ({"task": task.name} if task.name else {})
    # the prefix cache must not make a later variant cheaper
    return {**extra, **task.asked, "cache_salt": variant} | ({"routing": routing} if routing else {})
