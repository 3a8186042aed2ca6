"""Several turns of one conversation through the whole dispatch: where do they start, and on which replica?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from router.errors import UpstreamFailed
from router.policy.stay import TURNS
from tests.support.confidence import gateway as cascade
from tests.support.confidence import sure, text_of, unsure
from tests.support.fakes import answers, large, model, refuses, streams
from tests.support.inprocess import Dispatching

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
TOO_LONG = {"error": {"message": "maximum context length is 2048 tokens", "code": "context_length_exceeded"}}
GOOD, BAD = '{"a": 1}', "no"


class Chat:
    """A client that sends the whole history each time."""

    def __init__(self, gateway: Dispatching, about: str = "x", **fields: Any) -> None:
        self.gateway, self.fields = gateway, fields
        self.messages: list[dict[str, str]] = [{"role": "user", "content": about}]

    async def turn(self) -> tuple[str, str]:
        """Ask once; return the model that answered and why."""
        await self.gateway.ask(messages=list(self.messages), **self.fields)
        self.messages += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "and?"}]
        return self.gateway.record.model, self.gateway.record.reason


async def test_after_an_answer_in_the_wrong_format_the_conversation_stays_above() -> None:
    gateway = Dispatching(script={"slm-0": [answers(BAD)], "llm-0": [answers(GOOD)]})
    chat = Chat(gateway, response_format=FORMAT)
    assert await chat.turn() == ("llm", "structured")
    hosts = len(gateway.upstream.hosts)
    for _ in range(3):
        assert await chat.turn() == ("llm", "conversation")
    assert gateway.upstream.hosts[hosts:] == ["llm-0"] * 3
    assert gateway.headers["reason"] == "conversation"
    assert gateway.headers["attempts"] == "1"
    assert gateway.steps == [("slm", "llm", "policy")]
    assert await Chat(gateway, "another one").turn() == ("slm", "fixed")
    gateway.all_is_released()


async def test_the_small_model_is_tried_again_after_some_turns() -> None:
    gateway = Dispatching(script={"slm-0": [answers(BAD)], "llm-0": [answers(GOOD)]})
    chat = Chat(gateway, response_format=FORMAT)
    reasons = [(await chat.turn())[1] for _ in range(2 + TURNS)]
    assert reasons == ["structured", *["conversation"] * TURNS, "structured"]
    reasons = [(await chat.turn())[1] for _ in range(1 + 2 * TURNS)]
    assert reasons == [*["conversation"] * 2 * TURNS, "structured"]


async def test_a_small_model_that_does_better_keeps_the_conversation() -> None:
    script = {"slm-0": [answers(BAD), answers(BAD), answers(GOOD)], "llm-0": [answers(GOOD)]}
    chat = Chat(Dispatching(script=script), response_format=FORMAT)
    reasons = [(await chat.turn())[1] for _ in range(4 + TURNS)]
    assert reasons == ["structured", *["conversation"] * TURNS, "fixed", "fixed", "fixed"]


async def test_a_conversation_that_has_become_too_long_is_not_sent_down_again() -> None:
    gateway = Dispatching(script={"slm-0": [answers(), refuses(400, TOO_LONG)]})
    chat = Chat(gateway)
    assert [await chat.turn() for _ in range(3)] == [("slm", "fixed"), ("llm", "context"), ("llm", "conversation")]


async def test_streams_are_turns_too() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(400, TOO_LONG)], "llm-0": [streams()]})
    chat = Chat(gateway, stream=True)
    assert [await chat.turn() for _ in range(2)] == [("llm", "context"), ("llm", "conversation")]


async def test_a_replica_that_was_down_says_nothing_of_the_next_turn() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(500), answers()]})
    chat = Chat(gateway)
    assert [await chat.turn() for _ in range(2)] == [("llm", "upstream_error"), ("slm", "fixed")]


async def test_where_the_large_model_is_down_the_conversation_goes_on_below() -> None:
    script = {"slm-0": [refuses(400, TOO_LONG), answers()], "llm-0": [answers(), refuses(500)]}
    chat = Chat(Dispatching(script=script))
    assert [await chat.turn() for _ in range(2)] == [("llm", "context"), ("slm", "unsure: upstream_error")]


async def test_a_turn_that_fails_is_not_remembered() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(400, TOO_LONG)], "llm-0": [refuses(500), refuses(500), answers()]})
    chat = Chat(gateway)
    with pytest.raises(UpstreamFailed):
        await chat.turn()
    chat.messages += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "and?"}]
    assert await chat.turn() == ("llm", "context")


async def test_a_cascade_says_that_the_conversation_stays() -> None:
    gateway = cascade(unsure())
    chat = Chat(gateway)
    assert [await chat.turn() for _ in range(2)] == [("llm", "confidence"), ("llm", "conversation")]
    assert not gateway.record.judgements
    assert text_of((await cascade(sure()).ask())[0]) == "Paris."


async def test_all_turns_of_a_conversation_are_asked_of_one_replica() -> None:
    gateway = Dispatching([model(replicas=3), large()])
    for about in "abcdef":
        chat = Chat(gateway, about)
        before = len(gateway.upstream.hosts)
        for _ in range(3):
            await chat.turn()
        assert len(set(gateway.upstream.hosts[before:])) == 1
    assert len(set(gateway.upstream.hosts)) == 3


async def test_a_retry_goes_to_another_replica_than_the_conversations_own() -> None:
    gateway = Dispatching([model(replicas=2), large()])
    await Chat(gateway).turn()
    [own] = gateway.upstream.hosts
    gateway.upstream.script[own] = [refuses(500), answers()]
    assert await Chat(gateway).turn() == ("slm", "fixed")
    assert gateway.upstream.hosts[1] == own != gateway.upstream.hosts[2]
    assert await Chat(gateway).turn() == ("slm", "fixed")
    assert gateway.upstream.hosts[3] == own


async def test_a_burst_of_one_prompt_is_spread() -> None:
    gateway = Dispatching([model(replicas=2), large()])
    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(Dispatching.ask(gateway))
    assert sorted(gateway.upstream.hosts.count(f"slm-{at}") for at in range(2)) == [4, 8], "1.25 times the mean"
