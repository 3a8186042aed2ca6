from __future__ import annotations

from typing import Any

import pytest

from router.errors import UpstreamRejected
from router.judge import consistency
from router.judge.base import JudgedCall
from router.judge.consistency import Vote
from router.judge.voting import SAMPLING_TEMPERATURE, VotingJudge
from tests.support.confidence import choice
from tests.support.fakes import call
from tests.support.judging import Rule


def judge(rule: Rule | None = None, samples: int = 3, **fields: Any) -> VotingJudge:
    return VotingJudge(JudgedCall(call(**fields), rule or Rule(), False, False), samples)


def answer(*texts: str) -> dict[str, Any]:
    return {"id": "x", "choices": [choice(text, None, at) for at, text in enumerate(texts)]}


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [(None, SAMPLING_TEMPERATURE), (0, SAMPLING_TEMPERATURE), (0.5, SAMPLING_TEMPERATURE), (1.3, 1.3)],
)
def test_samples_are_asked_for_warm_enough_to_differ(wanted: float | None, asked: float) -> None:
    adapted = judge(samples=5).adapt(call(temperature=wanted))
    for told in (adapted.body, adapted.fields):
        assert (told["n"], told["temperature"]) == (5, asked)
    assert "logprobs" not in adapted.body


def test_the_client_gets_the_winner_alone_as_the_first_choice() -> None:
    said = answer("Rome", "Paris", "paris ")
    chosen = judge().choose(said)
    assert chosen == {"id": "x", "choices": [choice("Paris", None, 0)]}
    assert len(said["choices"]) == 3, "the answer itself stays as it was"


@pytest.mark.parametrize(
    ("texts", "vote", "accepted"),
    [
        (("Paris", "Paris", "Paris"), Vote(0, 3, 3), True),
        (("Rome", "Paris", "Paris"), Vote(1, 2, 3), True),
        (("Rome", "Paris", "Oslo"), Vote(0, 1, 3), False),
        (("Paris",), Vote(0, 1, 1), True),  # the upstream gave one, whatever it was asked for
        (("", ""), Vote(0, 0, 2), False),
    ],
)
def test_the_share_of_the_votes_is_the_confidence(texts: tuple[str, ...], vote: Vote, accepted: bool) -> None:
    rule = Rule()
    one = judge(rule)
    one.judge(one.choose(answer(*texts))["choices"])
    assert rule.asked == [(None, consistency.score(vote), False, True)]
    assert one.accepted is accepted


def test_an_answer_is_read_as_it_came() -> None:
    body = b'{"choices": [{"logprobs": {}}]}'
    assert judge().read(body) is body


def test_any_refusal_may_be_of_what_was_added() -> None:
    one, refusal = judge(), UpstreamRejected(400, {"message": "n must be 1"})
    assert not one.caused(refusal), "nothing was added yet"
    one.adapt(call())
    assert one.caused(refusal)
