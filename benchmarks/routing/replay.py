"""`python -m benchmarks.routing.replay`: decide again what a gateway decided; what would other limits have kept?

The access log of a gateway with JSON logs (`learned` of each line) says all that its learned policies saw; the prompt
is not needed. The same policies decide here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf, isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.vllm.program import say
from router.config.models import Config, Model, Route
from router.decision import Candidate, Decision, Prior
from router.errors import ConfigError
from router.learning.evidence import EVERY
from router.load_config import load
from router.messages.chat import CHAT
from router.policy.cascade import Cascade
from router.policy.learned import Learned, asking_order
from router.policy.route_policies import RoutePolicies
from router.types import ChatCall, RoutingOptions

CLOSE = 1e-4
"""numbers in the log are rounded, and so is what is worked out of them"""
LIMITS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def main(argv: Sequence[str] | None = None) -> int:
    """Replay a log; return 0 where every decision is the same, 1 where one is not, 2 where there are none."""
    options = _parse(argv)
    try:
        config = load(options.config, os.environ, gpu=options.gpu)
        replay = Replay(config)
        lines = list(decisions(options.log))
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if not lines:
        print(f"{options.log}: no line tells of a learned policy: a cascade logs `learned` as JSON", file=sys.stderr)
        return 2
    others = [line for line in lines if not replay.agrees(line)]
    say(f"{len(lines)} decisions, {len(lines) - len(others)} the same again")
    for line in others[:10]:
        say(f"  another: {line['request_id']}")
    for row in replay.what_if(lines):
        say(row)
    return 1 if others else 0


class Replay:
    """The policies of one configuration, asked with what a log tells."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._policies = RoutePolicies(config)

    def agrees(self, line: Mapping[str, Any]) -> bool:
        """Return whether the policy comes to the same thresholds, values, way, gains and verdicts as the log tells."""
        learned, route = line["learned"], self._route(line["route"])
        policy = self._policy(route, learned)
        candidates = {name: _look(policy, self._config.models[name], learned, seen) for name, seen in _seen(learned)}
        rungs = route.rungs if route.fallback.name in learned["way"] else route.rungs[:-1]
        _, way = asking_order(rungs, candidates)
        return (
            way == learned["way"]
            and all(_as_told(candidates[name], seen) for name, seen in _seen(learned))
            and all(self._judges_alike(policy, candidates, judged) for judged in learned.get("judged", ()))
        )

    def what_if(self, lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Yield what other limits would have kept of the whole answers that were judged."""
        gains = [
            judged["gain"]
            for line in lines
            for judged in line["learned"].get("judged", ())
            if not judged.get("beginning")
        ]
        yield f"{len(gains)} answers were judged; min_confidence -> kept, expected loss of all"
        for limit in LIMITS if gains else ():
            kept = [gain for gain in gains if gain <= 1 - limit]
            loss = sum(max(0.0, gain) for gain in kept) / len(gains)
            yield f"  {limit:.2f} -> {len(kept) / len(gains):6.1%}, {loss:.3f}"

    def _route(self, name: str) -> Route:
        if found := self._config.route(name):
            return found
        raise ConfigError(f"the log has a route {name!r}; models.yaml has none of that name")

    def _policy(self, route: Route, learned: Mapping[str, Any]) -> Learned:
        policy = self._policies.of(route, _call(learned))
        assert isinstance(policy, Learned)
        return policy

    def _judges_alike(self, policy: Learned, candidates: Mapping[str, Candidate], judged: Mapping[str, Any]) -> bool:
        assert isinstance(policy, Cascade)
        again = policy.acceptance(Decision(0, "replayed", candidates=candidates), self._config.models[judged["model"]])(
            None,
            judged.get("score"),
            beginning=judged.get("beginning", False),
            voted=judged.get("voted", False),
        )
        undecided = abs(again.gain - again.threshold) <= CLOSE
        return _close(again.gain, judged["gain"]) and (again.accepted == judged["accepted"] or undecided)


def _call(learned: Mapping[str, Any]) -> ChatCall:
    policy = "classifier" if learned["reason"].startswith("classifier") else "cascade"
    wanted = RoutingOptions(policy, min_confidence=learned.get("min_confidence"))
    return ChatCall(CHAT, "", {}, {}, 0, routing=wanted)


def _seen(learned: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    models: Mapping[str, Mapping[str, Any]] = learned["models"]
    return models.items()


def _look(policy: Learned, model: Model, learned: Mapping[str, Any], seen: Mapping[str, Any]) -> Candidate:
    """Look at a model again. What it costs and what the prompt says, only the log knows."""
    task, expected = learned["task"], seen["expected_gain"]
    likely = _likely(policy, model.name, task, expected) if isinstance(policy, Cascade) else (expected,)
    price = inf if seen["price"] is None else seen["price"]
    return policy.candidate(
        Prior(task, likely, seen["hint"]), model, _call(learned), price, learned.get("fallback_usd")
    )


def _as_told(candidate: Candidate, seen: Mapping[str, Any]) -> bool:
    threshold = candidate.threshold if isfinite(candidate.threshold) else None
    value = candidate.value if candidate.value is not None and isfinite(candidate.value) else None
    return (
        _close(threshold, seen["threshold"])
        and (candidate.threshold == inf) == seen["accepts_all"]
        and candidate.is_guaranteed == seen["is_guaranteed"]
        and _close(value, seen["value"])
    )


def _likely(policy: Learned, model: str, task: str, expected: float | None) -> Sequence[float]:
    """Return what was likely: what is usual in the task, moved to where this prompt was guessed to be."""
    evidence = policy.evidence.get(model)
    usual = evidence and (evidence.tasks.get(task) or evidence.tasks.get(EVERY))
    if not usual or expected is None:
        return ()
    return [gain + expected - fmean(usual.gains) for gain in usual.gains]


def _close(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and abs(one - other) <= CLOSE * max(1, abs(one)))


def decisions(log: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a gateway's log that tell of a learned policy."""
    for text in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        if '"learned"' in text:
            try:
                line = json.loads(text)
            except ValueError:
                continue  # other programs write there, too
            if isinstance(line, dict) and isinstance(line.get("learned"), dict):
                yield line


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routing.replay",
        description="Decide again what a gateway decided, with the same policies, from its log alone.",
    )
    parser.add_argument("--config", type=Path, default=Path("models.yaml"), metavar="FILE", help="the gateway's own")
    parser.add_argument("--log", type=Path, required=True, metavar="FILE", help="its standard error, as JSON lines")
    parser.add_argument("--gpu", action="store_true", help="the gateway's machine has a GPU")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
