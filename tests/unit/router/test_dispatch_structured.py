"""What becomes of answers that must have a form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from router.errors import (
    BadRequest,
    StructuredOutputViolation,
    UpstreamFailed,
)
from tests.support.failing import AS_PERSON, BAD, GOOD
from tests.support.fakes import (
    DONE,
    ROLE,
    FakeExchange,
    answers,
    chunk,
    model,
    streams,
    usage_chunk,
    whole,
)
from tests.support.inprocess import Dispatching


async def test_a_valid_answer_is_accepted_as_decoded() -> None:
    gateway = Dispatching(script={"slm-0": [answers(GOOD)]})
    await gateway.ask(response_format=AS_PERSON)
    assert gateway.headers["structured"] == "decoded"
    assert gateway.record.verdicts == [("slm", "json_schema", "valid")]


async def test_an_invalid_one_is_asked_again() -> None:
    gateway = Dispatching(script={"slm-0": [answers(BAD), answers(GOOD)]})
    assert await gateway.ask(response_format=AS_PERSON) == [whole(GOOD)]
    assert gateway.headers["structured"] == "retried"
    assert gateway.record.retries == [("slm", "structured")]
    assert [word for *_, word in gateway.record.verdicts] == ["invalid", "valid"]
    assert gateway.tried == [("slm/0", "structured"), ("slm/0", "")]


@pytest.mark.parametrize("stream", [False, True])
async def test_twice_invalid_goes_up(stream: bool) -> None:
    def of(text: str) -> Callable[[], FakeExchange]:
        events = [[ROLE, chunk(text)], [chunk(finish="stop"), usage_chunk(), DONE]]
        return streams(events) if stream else answers(text)

    gateway = Dispatching(script={"slm-0": [of(BAD)], "llm-0": [of(GOOD)]})
    got = await gateway.ask(response_format=AS_PERSON, stream=stream)
    assert not any(BAD.encode() in part for part in got)
    assert any(json.dumps(GOOD).encode() in part for part in got)
    assert gateway.upstream.hosts == ["slm-0", "slm-0", "llm-0"]
    assert gateway.headers["structured"] == "escalated"
    assert gateway.headers["reason"] == "structured"
    assert gateway.headers["attempts"] == "3"
    record = gateway.record
    costs = [attempt.cost_nano_usd for attempt in record.attempts]
    assert costs[2] == 10 * 400 + 5 * 1600
    assert record.cost_nano_usd == sum(cost or 0 for cost in costs)
    assert record.bill().saved == -sum(cost or 0 for cost in costs[:2])


async def test_invalid_everywhere_is_an_error_and_no_answer() -> None:
    gateway = Dispatching(script={"slm-0": [answers(BAD)], "llm-0": [answers(BAD)]})
    error = await gateway.fails(StructuredOutputViolation, response_format=AS_PERSON)
    assert error.status == 502
    assert "'llm'" in error.message
    assert gateway.upstream.hosts == ["slm-0", "slm-0", "llm-0", "llm-0"]
    assert len(gateway.record.verdicts) == 4
    assert gateway.record.cost_nano_usd is not None


async def test_every_choice_is_checked() -> None:
    choices = [
        {"index": i, "message": {"content": text}, "finish_reason": "stop"} for i, text in enumerate([GOOD, BAD])
    ]
    both = json.dumps({"choices": choices}).encode()
    gateway = Dispatching([model()], {"slm-0": [lambda: FakeExchange(body=both)]})
    await gateway.fails(StructuredOutputViolation, response_format=AS_PERSON, n=2)


async def test_a_stream_that_is_checked_is_held_back_until_it_is_whole() -> None:
    steps = [[ROLE, chunk(GOOD[:4])], [chunk(GOOD[4:])], UpstreamFailed("cut")]
    good = [[ROLE, chunk(GOOD)], [chunk(finish="stop"), DONE]]
    gateway = Dispatching(script={"slm-0": [streams(steps)], "llm-0": [streams(good)]})
    got = await gateway.ask(response_format=AS_PERSON, stream=True)
    assert got == [ROLE, chunk(GOOD), chunk(finish="stop")], "nothing of the first, which broke off"


async def test_a_truncated_answer_says_so_itself() -> None:
    gateway = Dispatching(script={"slm-0": [lambda: FakeExchange(body=whole('{"age', finish="length"))]})
    await gateway.ask(response_format=AS_PERSON)
    assert gateway.record.verdicts == [("slm", "json_schema", "truncated")]
    assert gateway.headers["structured"] == "truncated"


def _of_choices(*choices: tuple[str | None, str]) -> bytes:
    made = [
        {
            "index": i,
            "message": {"role": "assistant", "content": text, "refusal": None if text else "no"},
            "finish_reason": finish,
        }
        for i, (text, finish) in enumerate(choices)
    ]
    return json.dumps({"choices": made}).encode()


CUT_SHORT, WHOLE, REFUSED = ('{"age', "length"), (GOOD, "stop"), (None, "stop")


@pytest.mark.parametrize(
    ("plays", "n", "said"),
    [
        ([_of_choices(REFUSED)], 1, "refused"),
        ([_of_choices((BAD, "content_filter"))], 1, "refused"),
        ([_of_choices(CUT_SHORT, WHOLE)], 2, "truncated"),
        ([_of_choices(WHOLE, CUT_SHORT)], 2, "truncated"),
        ([_of_choices(REFUSED, WHOLE)], 2, "refused"),
        ([whole(BAD), _of_choices(CUT_SHORT)], 1, "truncated"),
        # what an earlier attempt said is not said of the answer
        ([_of_choices(CUT_SHORT, (BAD, "stop")), _of_choices(WHOLE, WHOLE)], 2, "retried"),
    ],
)
async def test_what_became_of_any_choice_is_said(plays: list[bytes], n: int, said: str) -> None:
    gateway = Dispatching(script={"slm-0": [lambda body=body: FakeExchange(body=body) for body in plays]})
    await gateway.ask(response_format=AS_PERSON, n=n)
    assert gateway.upstream.hosts == ["slm-0"] * len(plays)
    assert gateway.headers["structured"] == said


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([chunk('{"age'), chunk(finish="length"), DONE], "truncated"),
        ([chunk(refusal="no"), chunk(finish="stop"), DONE], "refused"),
    ],
)
async def test_so_it_is_of_a_stream(events: list[bytes], said: str) -> None:
    gateway = Dispatching(script={"slm-0": [streams([events])]})
    await gateway.ask(response_format=AS_PERSON, stream=True)
    assert gateway.headers["structured"] == said


async def test_fewer_choices_than_asked_for_are_no_answer() -> None:
    gateway = Dispatching(
        script={"slm-0": [answers()], "llm-0": [lambda: FakeExchange(body=_of_choices(WHOLE, WHOLE))]}
    )
    assert await gateway.ask(n=2) == [_of_choices(WHOLE, WHOLE)]
    assert gateway.steps == [("slm", "llm", "upstream_error")]


async def test_an_invalid_schema_is_the_clients_and_nobody_is_asked() -> None:
    gateway = Dispatching()
    wrong = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "objekt"}}}
    error = await gateway.fails(BadRequest, response_format=wrong)
    assert error.status == 400
    assert gateway.upstream.sent == []


@pytest.mark.parametrize("message", [None, 5, "text", [], {"content": 5}, {"content": None}, {"content": ["a"]}])
@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
async def test_junk_instead_of_a_message_is_no_valid_answer(message: Any, kind: str) -> None:
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    gateway = Dispatching([model()], {"slm-0": [lambda: FakeExchange(body=body)]})
    wanted = AS_PERSON if kind == "json_schema" else {"type": "json_object"}
    await gateway.fails(StructuredOutputViolation, response_format=wanted)
