"""`python -m benchmarks.routing.replay`: repeat a gateway's decisions, and show what other limits would have kept.

The access log of a gateway with JSON logs has all inputs of its learned policies (`learned` in each line), so the
prompts are not needed. The same policies decide again here.
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

from benchmarks.common.command import say
from router.config.models import Config, Model, Route
from router.decision import Candidate, Decision, Prior
from router.errors import ConfigError
from router.learning.evidence import ALL_TASKS
from router.load_config import load
from router.messages.chat import CHAT
from router.policy.cascade import Cascade
from router.policy.learned import Learned, asking_order
from router.policy.route_policies import RoutePolicies
from router.policy.stay import REASON
from router.types import ChatCall, RoutingOptions

CLOSE = 1e-4
"""numbers in the log are rounded, so computed values differ by up to this"""
LIMITS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def main(argv: Sequence[str] | None = None) -> int:
    """Replay a log; return 0 if every decision is the same, 1 if one is not, 2 if there are none."""
    options = _parse(argv)
    try:
        config = load(options.config, os.environ, gpu=options.gpu)
        replay = Replay(config)
        lines = list(decisions(options.log))
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if not lines:
        print(
            f"{options.log}: no line has a decision of a learned policy: a cascade logs `learned` as JSON",
            file=sys.stderr,
        )
        return 2
    others = [line for line in lines if not replay.agrees(line)]
    say(f"{len(lines)} decisions, {len(lines) - len(others)} the same")
    for line in others[:10]:
        say(f"  different: {line['request_id']}")
    for row in replay.what_if(lines):
        say(row)
    return 1 if others else 0


class Replay:
    """The policies of one configuration, which decide again with the inputs in a log."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._policies = RoutePolicies(config)

    def agrees(self, line: Mapping[str, Any]) -> bool:
        """Return whether the policy has the same thresholds, values, order, gains and verdicts as the log."""
        learned, route = line["learned"], self._route(line["route"])
        policy = self._policy(route, learned)
        candidates = {
            name: _candidate(policy, self._config.models[name], learned, seen) for name, seen in _seen(learned)
        }
        rungs = route.rungs if route.fallback.name in learned["way"] else route.rungs[:-1]
        _, order = asking_order(rungs, candidates)
        return (
            order == learned["way"]
            and all(_matches(candidates[name], seen) for name, seen in _seen(learned))
            and all(self._judges_alike(policy, candidates, judged) for judged in learned.get("judged", ()))
        )

    def what_if(self, lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Yield how many of the judged whole answers other limits would have kept."""
        gains = [
            judged["gain"]
            for line in lines
            for judged in line["learned"].get("judged", ())
            if not judged.get("beginning")
        ]
        yield f"{len(gains)} answers were judged; min_confidence -> kept, expected loss over all"
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


def _candidate(policy: Learned, model: Model, learned: Mapping[str, Any], seen: Mapping[str, Any]) -> Candidate:
    """Return a model as a candidate. Its price and the estimate from the prompt come from the log."""
    task, expected = learned["task"], seen["expected_gain"]
    likely = _likely(policy, model.name, task, expected) if isinstance(policy, Cascade) else (expected,)
    price = inf if seen["price"] is None else seen["price"]
    return policy.candidate(
        Prior(task, likely, seen["hint"]), model, _call(learned), price, learned.get("fallback_usd")
    )


def _matches(candidate: Candidate, seen: Mapping[str, Any]) -> bool:
    threshold = candidate.threshold if isfinite(candidate.threshold) else None
    value = candidate.value if candidate.value is not None and isfinite(candidate.value) else None
    return (
        _close(threshold, seen["threshold"])
        and (candidate.threshold == inf) == seen["accepts_all"]
        and candidate.is_guaranteed == seen["is_guaranteed"]
        and _close(value, seen["value"])
    )


def _likely(policy: Learned, model: str, task: str, expected: float | None) -> Sequence[float]:
    """Return the likely gains: those of the task, shifted to the estimate for this prompt."""
    evidence = policy.evidence.get(model)
    usual = evidence and (evidence.tasks.get(task) or evidence.tasks.get(ALL_TASKS))
    if not usual or expected is None:
        return ()
    return [gain + expected - fmean(usual.gains) for gain in usual.gains]


def _close(one: float | None, other: float | None) -> bool:
    return one == other or (one is not None and other is not None and abs(one - other) <= CLOSE * max(1, abs(one)))


def decisions(log: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a gateway's log with a decision of a learned policy.

    Decisions for a conversation that stays are left out: they depend on its earlier turns.
    """
    for text in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        if '"learned"' in text:
            try:
                line = json.loads(text)
            except ValueError:
                continue  # other programs also write there
            learned = line.get("learned") if isinstance(line, dict) else None
            if isinstance(learned, dict) and learned.get("reason") != REASON:
                yield line


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routing.replay",
        description="Repeat a gateway's decisions with the same policies, from its log alone.",
    )
    parser.add_argument("--config", type=Path, default=Path("models.yaml"), metavar="FILE", help="of the gateway")
    parser.add_argument("--log", type=Path, required=True, metavar="FILE", help="its standard error, as JSON lines")
    parser.add_argument("--gpu", action="store_true", help="the gateway's machine has a GPU")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
