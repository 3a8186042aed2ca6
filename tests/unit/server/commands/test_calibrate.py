"""`smallfirst calibrate`: its options, its exit status, and what it says where something is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from router.decision import log_odds
from router.learning.evidence_file import EvidenceFile
from router.learning.labelled import read
from router.load_config import load
from router.policy.route_policies import RoutePolicies
from server.cli import main
from tests.support.labelled import REQUEST, TERMS, calls, decode, line, said, written

DOCS = Path(__file__).parents[4] / "docs" / "routing.md"
CONFIG = """
models:
  small: {tier: slm, engine: vllm, base_url: http://small.example/v1, price: {replica_hour_usd: 0.1}}
  other: {tier: slm, engine: vllm, base_url: http://other.example/v1}
  large:
    tier: llm
    engine: openai
    base_url: http://large.example/v1
    price: {input_usd_per_mtok: 1, output_usd_per_mtok: 4}
routes:
  auto: {ladder: [[small, other], large]}
  learned: {ladder: [small, large], policy: cascade, evidence: learned.json}
  voting: {ladder: [small, large], policy: cascade, samples: 5}
  alone: {ladder: [large]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "models.yaml"
    file.write_text(CONFIG)
    return file


def test_a_route_can_be_served_with_what_was_learned(config: Path, tmp_path: Path) -> None:
    data = f"--data={written(tmp_path, *calls(60))}"
    assert main(["calibrate", f"--config={config}", "--route=learned", f"--out={tmp_path / 'learned.json'}", data]) == 0
    RoutePolicies(load(config, {}, gpu=False))


def test_the_documented_example_works_when_it_is_pasted(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [block] = re.findall(r"```json\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    for ours, theirs in (("smollm2-135m", "small"), ("gpt-4.1-mini", "large")):
        block = block.replace(ours, theirs)
    file = written(tmp_path, block)
    found = [call.examples["small"] for call in read(file, TERMS, decode)]
    assert [one.task for one in found[:2]] == ["auto/task:spam"] * 2
    assert [(one.weak, one.strong) for one in found] == [(1, 1), (0, 1), (0.3, 0.9)]
    assert [one.score for one in found] == pytest.approx([log_odds(value) for value in (-0.12, -0.69, -41.5)])
    assert found[0].completion_tokens == 1
    assert main(["calibrate", f"--config={config}", f"--data={file}", f"--out={tmp_path / 'e.json'}"]) == 0
    assert re.search(r"^all +3 +0\.433 +0\.967 +1\.000 ", capsys.readouterr().out, re.MULTILINE)


def test_the_evidence_of_a_route_that_votes_says_of_how_many(config: Path, tmp_path: Path) -> None:
    data = [line({"small": {"quality": n % 2, "agree": 0.4 + n % 2 * 0.4}}, REQUEST | {"seed": n}) for n in range(40)]
    out = tmp_path / "evidence.json"
    arguments = [f"--config={config}", "--route=voting", f"--out={out}", f"--data={written(tmp_path, *data)}"]
    assert main(["calibrate", *arguments]) == 0
    assert EvidenceFile.load(out).samples == 5


OK = {"small": {"quality": 1}}


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ("{", "the line: not JSON: "),
        ("[]", "Expected `object`, got `array`"),
        ({"request": REQUEST}, "Object missing required field `answers`"),
        (line(OK, tasks="x"), "Object contains unknown field `tasks`"),
        (line(OK, task=""), "task: Expected `str` of length >= 1"),
        (line(OK, {}), r"request\.messages: Missing required parameter: 'messages'"),
        (line(OK, REQUEST | {"temperature": 9}), r"request\.temperature: "),
        (line({"small": {"quality": 2}}), r"answers\.small\.quality: Expected `float` <= 1\.0"),
        (line({"small": 1}), r"answers\.small: Expected `object`"),
        (line({"small": {"score": 1}}), r"answers\.small: Object contains unknown field `score`"),
        (line({"small": {"quality": 1, "logprob": 0.1}}), r"answers\.small\.logprob: Expected `float` <= 0\.0"),
        (line({"small": {"quality": 1, "choice": {"message": "x"}}}), r"answers\.small\.choice\.message: Expected"),
        (line({"large": {"usage": {}}} | OK), r"answers\.large\.usage: Object missing .* `completion_tokens`"),
        (line({"small": {"logprob": -1}}), r"answers\.small\.quality: missing; without it the `choice` of this model"),
        (line({name: {"choice": said("x")} for name in ("small", "large")}), r"answers\.small\.quality: .*judge"),
        (
            line({name: {"choice": said("x")} for name in ("small", "large")}, REQUEST | {"guided_choice": []}),
            r"request\.guided_choice: ",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_file_line_and_field(
    wrong: object, expected: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, line(OK), "", wrong)
    assert main(["calibrate", f"--config={config}", f"--data={file}", f"--out={tmp_path / 'none.json'}"]) == 2
    assert re.search(rf"^smallfirst: {re.escape(str(file))}:3: {expected}", capsys.readouterr().err, re.MULTILINE)
    assert not (tmp_path / "none.json").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data={calls}", "--route=missing"], r"--route: expected a route of models.yaml \(auto, learned, "),
        (["--data={calls}", "--route=alone"], "--route: routes.alone has no small model here beside 'large'"),
        (["--data=missing.jsonl"], r"missing\.jsonl: cannot be read: No such file"),
        (["--data={strangers}"], "nothing to learn from: expected answers of small or other"),
        (["--data={calls}", "--out=missing/e.json"], r"missing/e\.json: cannot be written"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(
    arguments: list[str], expected: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "calls": written(tmp_path, *calls(20)),
        "strangers": written(tmp_path, line({"stranger": {"quality": 1}}), name="strangers.jsonl"),
    }
    filled = [argument.format(**files) for argument in arguments]
    assert main(["calibrate", f"--config={config}", f"--out={tmp_path / 'e.json'}", *filled]) == 2
    told = capsys.readouterr().err
    assert re.search(expected, told)
    assert ("stranger: 1 answers are ignored" in told) == ("--data={strangers}" in arguments)


@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_a_beginning_has_at_least_one_token(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["calibrate", "--data=x", f"--beginning={value}"])
    assert "expected a number of tokens from 1" in capsys.readouterr().err


def test_it_writes_the_evidence_and_prints_a_table(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [f"--data={written(tmp_path, *calls(100, seed), name=f'{seed}.jsonl')}" for seed in (1, 2)]
    assert main(["calibrate", f"--config={config}", f"--out={tmp_path / 'evidence.json'}", *data]) == 0
    output = capsys.readouterr()
    assert "other: no calls to learn from" in output.err
    assert re.search(r"^all +200 ", output.out, re.MULTILINE)
    assert EvidenceFile.load(tmp_path / "evidence.json").route == "auto"
