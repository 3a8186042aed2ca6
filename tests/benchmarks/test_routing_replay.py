from __future__ import annotations

import json
import random
from datetime import date
from math import exp
from pathlib import Path

import msgspec
import pytest

from benchmarks.routing.replay import main
from router.learning.evidence import Comparison, Evidence, Example
from router.learning.evidence_file import EvidenceFile
from router.load_config import load
from router.policy.base import Situation
from router.policy.cascade import Cascade
from router.policy.route_policies import RoutePolicies
from router.record import RequestRecord
from server.observability import decision_log
from tests.support.fakes import call

MODELS = """
models:
  slm: {tier: slm, engine: vllm, base_url: "http://slm/v1", price: {replica_hour_usd: 1}}
  llm: {tier: llm, engine: openai, base_url: "http://llm/v1", price: {input_usd_per_mtok: 1, output_usd_per_mtok: 4}}
routes:
  auto: {ladder: [slm, llm], policy: cascade, evidence: evidence.json, LIMIT}
"""
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def evidence() -> Evidence:
    """Of two tasks, in one of which the small model is right when it is sure, and never when the text says omega."""
    rng = random.Random(7)
    examples = []
    for number in range(300):
        score, hard = rng.gauss(0, 2), number % 5 == 0
        right = not hard and rng.random() < 1 / (1 + exp(-score))
        text = " ".join([*rng.sample(WORDS, 5), "omega omega" if hard else "easy"])
        examples.append(Example("auto/task:a" if number % 2 else "auto/task:b", text, float(right), 1.0, True, score))
    return Evidence.fit(examples)


@pytest.fixture(scope="module")
def learned() -> Evidence:
    return evidence()


def a_log(folder: Path, learned: Evidence, limit: str) -> tuple[Path, Path]:
    comparisons = [Comparison("auto/task:a", gain / 200, 50, worse=gain % 7 == 0) for gain in range(200)]
    file = EvidenceFile(made=date(2026, 11, 1), route="auto", fallback="llm", models={"slm": learned},
                        comparisons={"slm": comparisons})  # fmt: skip
    file.save(folder / "evidence.json")
    models = folder / "models.yaml"
    models.write_text(MODELS.replace("LIMIT", limit))
    config = load(models, {}, gpu=False)
    route = config.routes["auto"]
    lines: list[str] = ["uvicorn: started", '{"learned": 3}', '{"learned'] if limit else []
    for number in range(40):
        routing = {"task": "a" if number % 2 else "new", "policy": "classifier" if number % 4 == 0 else "cascade"}
        routing |= {"min_confidence": 0.35} if number % 3 == 0 else {}
        one = call(messages=[{"role": "user", "content": f"{WORDS[number % 10]} omega {number}"}], routing=routing)
        policy = RoutePolicies(config).of(route, one)
        record = RequestRecord(f"req_{number}", 0.0, decision=policy.decide(Situation(one, route.rungs)))
        if isinstance(policy, Cascade):
            assert record.decision
            judged = policy.acceptance(record.decision, config.models["slm"])(None, number / 5 - 4, beginning=False)
            record.judgements.append(judged)
        line = {"request_id": record.request_id, "route": "auto", "learned": decision_log.learned_decision(record)}
        lines.append(msgspec.json.encode(line).decode())
    # a turn that stays depends on earlier turns, so it is not repeated
    lines.append('{"request_id": "stayed", "route": "auto", "learned": {"reason": "conversation", "way": ["llm"]}}')
    log = folder / "log.jsonl"
    log.write_text("\n".join(lines))
    return models, log


@pytest.mark.parametrize("limit", ["min_confidence: 0.7", "guarantee: {max_quality_loss: 0.3}"])
def test_every_decision_is_the_same_again(
    learned: Evidence, limit: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, log = a_log(tmp_path, learned, limit)
    assert main(["--config", str(models), "--log", str(log)]) == 0
    said = capsys.readouterr().out
    assert "40 decisions, 40 the same" in said
    assert "30 answers were judged" in said
    assert "0.00 -> 100.0%" in said


def test_a_decision_that_is_not_the_same_is_named(
    learned: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, log = a_log(tmp_path, learned, "min_confidence: 0.7")
    lines = [json.loads(line) for line in log.read_text().split("\n") if '"req_' in line]
    lines[3]["learned"]["judged"][0]["gain"] += 0.01
    log.write_text("\n".join(map(json.dumps, lines)))
    assert main(["--config", str(models), "--log", str(log)]) == 1
    assert "different: req_3" in capsys.readouterr().out


def test_other_limits_than_those_of_the_log_decide_otherwise(learned: Evidence, tmp_path: Path) -> None:
    models, log = a_log(tmp_path, learned, "min_confidence: 0.7")
    models.write_text(MODELS.replace("LIMIT", "min_confidence: 0.1"))
    assert main(["--config", str(models), "--log", str(log)]) == 1


def test_a_way_that_the_policy_would_not_take_is_seen(learned: Evidence, tmp_path: Path) -> None:
    models, log = a_log(tmp_path, learned, "min_confidence: 0.7")
    lines = [json.loads(line) for line in log.read_text().split("\n") if '"req_' in line]
    lines[3]["learned"]["way"] = ["llm"]
    log.write_text("\n".join(map(json.dumps, lines)))
    assert main(["--config", str(models), "--log", str(log)]) == 1


def test_a_log_without_learned_decisions_is_reported(
    learned: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, log = a_log(tmp_path, learned, "min_confidence: 0.7")
    log.write_text('{"message": "started"}\n')
    assert main(["--config", str(models), "--log", str(log)]) == 2
    assert "no line has a decision of a learned policy" in capsys.readouterr().err
