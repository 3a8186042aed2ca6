"""What a decision costs: that it is the real one, and figures by hand."""

from __future__ import annotations

import json

import pytest

from benchmarks.routing import decision
from benchmarks.routing.decision import (
    CASES,
    DECISION,
    SUM,
    WITH_JUDGE,
    broken_promises,
    decision_input,
    medians,
    parts,
)
from benchmarks.routing.decision_calls import RUNGS, SMALL, calls, cascade, prompts
from router.judge.logprobs import tokens_of_event, without_logprobs
from router.learning.evidence import Evidence
from router.learning.fingerprint import fingerprint
from router.messages.answer import parse_whole


@pytest.mark.parametrize(("name", "structured"), CASES.items())
def test_the_calls_are_of_one_template_and_answered_as_an_engine_answers(name, structured):
    asked = calls(5, seed=1, structured=structured)
    assert len({one.call.body["messages"][1]["content"] for one in asked}) == 5
    assert len({fingerprint(one.call) for one in asked}) == 1
    policy = cascade(Evidence())
    for one in asked:
        work = decision_input(policy, one, structured=structured)
        assert parse_whole(without_logprobs(one.answer), 1)["choices"] == one.choices
        assert "".join(token.token for token in work.tokens) == one.choices[0]["message"]["content"]
        assert tokens_of_event(one.event) == [(0, (work.tokens[0],))]
        assert bool(work.confidence.fields) is structured
        assert work.decision.asking_order == [model.name for rung in RUNGS for model in rung]
        assert SMALL.name in work.decision.candidates
        for part in parts(policy, structured=structured).values():
            part(work)


def test_the_prompts_have_their_length():
    assert all(500 <= len(text) < 520 for text in prompts(5, 500, seed=1))


def test_a_part_costs_the_median_of_its_turns_without_the_clock(monkeypatch):
    now = 0

    def clock():
        nonlocal now
        now += 100  # reading it costs so much
        return now

    def work(cost):
        nonlocal now
        now += cost

    monkeypatch.setattr(decision, "thread_time_ns", clock)
    assert medians({"once": work, "never": lambda cost: None}, [1_000, 2_000, 9_000], 3) == {"once": 2.0, "never": 0.0}


def test_what_costs_too_much_is_said():
    cases = {"JSON": {"us": {DECISION: 150.0}}, "text": {"us": {DECISION: 151.0}}}
    assert list(broken_promises({"cases": cases})) == ["text: the decision costs 151 us; the limit is 150"]


def test_the_command_prints_a_table_and_writes_its_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decision, "evidence", Evidence)
    monkeypatch.setattr(decision, "CALLS", 2)
    assert decision.main(["--rounds", "1", "--out", str(tmp_path)]) in (0, 1)
    report = json.loads((tmp_path / "report.json").read_text())
    assert {"date", "machine", "versions", "revision", "rounds"} <= report.keys()
    for case in report["cases"].values():
        assert case["us"][DECISION] == pytest.approx(sum(case["us"][name] for name in SUM))
    text = (tmp_path / "report.md").read_text()
    assert text in capsys.readouterr().out
    assert f"| **{DECISION}** | {report['cases']['JSON']['us'][DECISION]:.1f} |" in text
    assert f"| {WITH_JUDGE} |" in text
    assert "2 decisions on 2 calls" in text
