"""`smallfirst calibrate`: labelled calls in, evidence and a table out, and a clear word where something is wrong."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decision import log_odds
from router.errors import BadData
from router.judge.consistency import Vote, score
from router.learning.calibration_report import HeldOutCall, auroc, kept_share_and_loss
from router.learning.evidence import Example
from router.learning.evidence_file import EvidenceFile
from router.learning.labelled import CalibrationTerms, read
from router.load_config import load
from router.policy.route_policies import RoutePolicies
from router.types import ChatCall, Endpoint
from server.cli import main
from server.endpoints.decode import decode as decode_body
from server.endpoints.registry import ENDPOINTS

DOCS = Path(__file__).parents[4] / "docs" / "routing.md"
TERMS = CalibrationTerms("auto", ("small",), "large")
REQUEST = {"messages": [{"role": "user", "content": "Is it spam?"}]}
YES_OR_NO = REQUEST | {"structured_outputs": {"choice": ["yes", "no"]}}

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


def decode(endpoint: Endpoint, body: bytes) -> ChatCall:
    return decode_body(ENDPOINTS[f"/v1/{endpoint.path}"], body)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "models.yaml"
    file.write_text(CONFIG)
    return file


def written(folder: Path, *lines: object, name: str = "calls.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return file


def said(content: str, *logprobs: float) -> dict[str, Any]:
    tokens = [{"token": "x", "bytes": None, "logprob": logprob, "top_logprobs": []} for logprob in logprobs]
    return {"message": {"content": content}, "logprobs": {"content": tokens} if tokens else None}


def line(answers: dict[str, Any], request: dict[str, Any] = REQUEST, **more: Any) -> dict[str, Any]:
    return {"request": request, "answers": answers, **more}


def example(
    tmp_path: Path, answers: dict[str, Any], request: dict[str, Any] = REQUEST, terms: CalibrationTerms = TERMS
) -> Example:
    [call] = read(written(tmp_path, line(answers, request)), terms, decode)
    return call.examples["small"]


def calls(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return calls of two tasks; of the hard one the small model fails at most, and is less sure where it does."""
    draw, lines = random.Random(seed), []
    for place in range(count):
        hard = place % 2
        right = draw.random() > (0.7 if hard else 0.1)
        small = {"quality": float(right), "logprob": -draw.random() * (0.2 if right else 3.0)}
        request = {"messages": [{"role": "user", "content": f"What is the sum of {place} and {draw.random()}?"}]}
        large = {"quality": 1, "usage": {"prompt_tokens": 9, "completion_tokens": 20}}
        lines.append(line({"small": small, "large": large}, request, task="hard" if hard else "easy"))
    return lines


def test_it_learns_and_tells_what_thresholds_would_keep(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [written(tmp_path, *calls(300, seed), name=f"{seed}.jsonl") for seed in (1, 2)]
    out = tmp_path / "evidence.json"
    data = [f"--data={file}" for file in files]
    assert main(["calibrate", f"--config={config}", "--route=auto", f"--out={out}", *data]) == 0
    told = capsys.readouterr()
    assert "other: no calls to learn from" in told.err
    rows = {cells[0]: cells for cells in (re.split(r"  +", row) for row in told.out.splitlines())}
    assert rows["easy"][1] == rows["hard"][1] == "300"
    assert rows["all"][1] == "600"
    assert float(rows["hard"][2]) < 0.5 < float(rows["easy"][2])
    assert float(rows["all"][4]) > 0.8
    shares = [int(cell.partition("%")[0]) for cell in rows["all"][5:9]]
    assert shares == sorted(shares, reverse=True)
    assert 100 > shares[0] > shares[-1]

    file = EvidenceFile.load(out)
    assert (file.route, file.fallback, file.samples, set(file.models)) == ("auto", "large", 0, {"small"})
    assert 240 < len(file.comparisons["small"]) < 360, "half of the calls teach nothing"
    assert f"judged on {len(file.comparisons['small'])} others" in told.out
    assert file.models["small"].completion_tokens("auto/task:easy") == 20
    prior = file.models["small"].prior("auto/task:easy", "What?")
    assert file.models["small"].gain(prior, log_odds(-0.01)) < 0.3 < file.models["small"].gain(prior, log_odds(-2.5))


def test_a_route_can_be_served_with_what_was_learned(config: Path, tmp_path: Path) -> None:
    data = f"--data={written(tmp_path, *calls(60))}"
    assert main(["calibrate", f"--config={config}", "--route=learned", f"--out={tmp_path / 'learned.json'}", data]) == 0
    RoutePolicies(load(config, {}, gpu=False))


def test_which_half_teaches_does_not_depend_on_the_order_of_calls_or_keys(tmp_path: Path) -> None:
    lines = calls(40)
    shuffled = [dict(reversed(one.items())) for one in reversed(lines)]
    for one in shuffled:
        one["request"] = {"model": "whatever", **one["request"]}
    halves = [[call.held_out for call in read(written(tmp_path, *of), TERMS, decode)] for of in (lines, shuffled)]
    assert halves[0] == halves[1][::-1]
    assert {True, False} == set(halves[0])


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


def test_the_confidence_of_a_structured_answer_is_that_of_its_values(tmp_path: Path) -> None:
    pieces = (('{"a": "', -0.5), ("Paris", -0.1), ('"', -0.01), ("}", -0.7))
    tokens = [{"token": text, "bytes": list(text.encode()), "logprob": value} for text, value in pieces]
    choice = {"message": {"content": '{"a": "Paris"}'}, "logprobs": {"content": tokens}}
    free = example(tmp_path, {"small": {"quality": 1, "choice": choice}})
    formed = example(
        tmp_path, {"small": {"quality": 1, "choice": choice}}, REQUEST | {"response_format": {"type": "json_object"}}
    )
    assert free.score == pytest.approx(log_odds(-1.31))
    assert formed.score == pytest.approx(log_odds(-0.11))


def test_a_completion_is_a_call_too(tmp_path: Path) -> None:
    choice = {"text": " yes", "logprobs": {"tokens": [" yes"], "token_logprobs": [-0.3]}}
    found = example(tmp_path, {"small": {"quality": 1, "choice": choice}}, {"prompt": "Is it spam?"})
    assert found.score == pytest.approx(log_odds(-0.3))
    assert found.text == "Is it spam?"


def test_only_a_text_that_is_long_enough_has_a_beginning(tmp_path: Path) -> None:
    terms = CalibrationTerms("auto", ("small",), "large", beginning_tokens=2)
    three, one = ({"small": {"quality": 1, "choice": said("a b c", *of)}} for of in ((-0.1, -0.2, -0.4), (-0.1,)))
    assert example(tmp_path, three, terms=terms).first == pytest.approx(log_odds(-0.3))
    assert example(tmp_path, one, terms=terms).first is None
    assert example(tmp_path, three, YES_OR_NO, terms).first is None
    assert example(tmp_path, three).first is None


def test_of_a_route_that_votes_the_confidence_is_the_share(config: Path, tmp_path: Path) -> None:
    terms = CalibrationTerms("voting", ("small",), "large", samples=5)
    found = example(tmp_path, {"small": {"quality": 1, "agree": 0.8, "logprob": -1}}, terms=terms)
    assert found.score == score(Vote(index=0, votes=4, total=5))
    assert example(tmp_path, {"small": {"quality": 1, "logprob": -1}}, terms=terms).score is None
    data = [line({"small": {"quality": n % 2, "agree": 0.4 + n % 2 * 0.4}}, REQUEST | {"seed": n}) for n in range(40)]
    out = tmp_path / "evidence.json"
    arguments = [f"--config={config}", "--route=voting", f"--out={out}", f"--data={written(tmp_path, *data)}"]
    assert main(["calibrate", *arguments]) == 0
    assert EvidenceFile.load(out).samples == 5


def test_ungraded_answers_are_compared_with_the_fallbacks(tmp_path: Path) -> None:
    answers = {"small": {"choice": said("Yes")}, "large": {"choice": said("yes"), "quality": 0.8}}
    assert (one := example(tmp_path, answers, YES_OR_NO)).weak == one.strong == 0.8
    wrong = answers | {"small": {"choice": said("no")}}
    assert example(tmp_path, wrong, YES_OR_NO).weak == 0


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "quality": anything,
        "logprob": anything,
        "agree": anything,
        "usage": anything,
        "choice": st.fixed_dictionaries(
            {}, optional={"message": anything | st.fixed_dictionaries({"content": anything}), "logprobs": anything}
        ),
    },
)
requests = anything | st.fixed_dictionaries(
    {"messages": st.just(REQUEST["messages"])}, optional={"response_format": anything, "tools": anything}
)


@given(request=requests, small=answers, large=answers, task=anything)
def test_a_line_is_a_labelled_call_or_says_what_is_wrong_with_it(
    tmp_path_factory: pytest.TempPathFactory, request: object, small: object, large: object, task: object
) -> None:
    file = written(
        tmp_path_factory.mktemp("data"), {"request": request, "answers": {"small": small, "large": large}, "task": task}
    )
    found, told = [], ""
    try:
        found = list(read(file, TERMS, decode))
    except BadData as error:
        told = str(error)
    assert told.startswith(f"{file}:1: ") or 0 <= found[0].examples["small"].weak <= 1


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


def test_auroc_counts_ties_half() -> None:
    def scored(*pairs: tuple[float | None, bool]) -> list[Example]:
        return [Example("t", "", weak=float(good), strong=1, score=value) for value, good in pairs]

    assert auroc(scored((1, True), (0, False), (2, True))) == 1
    assert auroc(scored((1, True), (1, False))) == 0.5
    assert auroc(scored((0, True), (1, False), (None, False))) == 0
    assert auroc(scored((1, True), (None, False))) is None


def test_what_is_kept_is_counted_over_all_calls() -> None:
    def judged(gain: float, weak: float) -> HeldOutCall:
        one = Example("t", "", weak=weak, strong=1)
        return HeldOutCall(one, gain)

    four = [judged(0.1, 1), judged(0.15, 0), judged(0.4, 0.5), judged(0.9, 0)]
    assert kept_share_and_loss(four, 0.8) == (0.5, 0.25)
    assert kept_share_and_loss(four, 0.95) == (0, 0)
    assert kept_share_and_loss([], 0.5) is None


def test_data_that_are_no_utf_8_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_bytes(b'{"request": {}, "answers": {}, "task": "\xff"}\n')
    with pytest.raises(BadData, match=r"calls\.jsonl:1: "):
        list(read(file, TERMS, decode))


def test_a_call_written_as_text_has_the_confidence_of_its_values_too(tmp_path: Path) -> None:
    pieces = (('{"name": "f", "arguments": {"a": "', -0.9), ('x"', -0.1), ("}}", -0.5))
    choice = {
        "message": {"content": "".join(text for text, _ in pieces)},
        "logprobs": {"content": [{"token": text, "logprob": value} for text, value in pieces]},
    }
    tools = [{"type": "function", "function": {"name": "f"}}]
    plain, called = (
        example(tmp_path, {"small": {"quality": 1, "choice": choice}}, REQUEST | more)
        for more in ({}, {"tools": tools})
    )
    assert plain.score is not None
    assert called.score is not None
    assert called.score > plain.score
