from __future__ import annotations

from typing import Any

import pytest

from router.attempt.continuation.plan import Plan, plan
from router.attempt.continuation.sent import CallSent, Sent
from router.types import ChatCall
from router.upstream.dialects import DIALECTS
from tests.support.fakes import QUESTION, call, model

TEXT = Sent(content="Once upon", tokens=2)
COMPLETION: dict[str, Any] = {"endpoint": "completions", "prompt": "Tell:"}


def planned(
    sent: Sent,
    asked: ChatCall | None = None,
    *,
    engine: str = "vllm",
    is_free: bool = True,
    is_same: bool = True,
    may_repeat: bool = True,
    **entry: Any,
) -> Plan | None:
    asked = asked or call(stream=True)
    return plan(
        asked,
        sent,
        model(engine=engine, **entry),
        DIALECTS[engine],
        is_free=is_free,
        is_same=is_same,
        may_repeat=may_repeat,
    )


def test_free_text_is_the_beginning_of_the_last_message() -> None:
    way = planned(TEXT)
    assert way is not None
    assert way.changes["messages"] == [*QUESTION, {"role": "assistant", "content": "Once upon"}]
    assert (way.kept_tokens, way.again, way.is_replay) == (2, "", False)


def test_limits_become_smaller_by_what_was_sent() -> None:
    way = planned(TEXT, call(stream=True, max_tokens=10, max_completion_tokens=9, min_tokens=5))
    assert way is not None
    assert {name: way.changes[name] for name in ("max_tokens", "max_completion_tokens", "min_tokens")} == {
        "max_tokens": 8,
        "max_completion_tokens": 7,
        "min_tokens": 3,
    }
    way = planned(TEXT, call(stream=True, min_tokens=2, max_tokens=2))
    assert way is not None
    assert (way.changes["min_tokens"], way.changes["max_tokens"]) == (None, 1)


@pytest.mark.parametrize("is_same", [True, False])
def test_after_thoughts_alone_everybody_answers_from_the_start(is_same: bool) -> None:
    for engine in ("vllm", "openai"):
        for is_free in (True, False):
            way = planned(
                Sent(thoughts="Hm", content="\n", tokens=3),
                engine=engine,
                is_free=is_free,
                is_same=is_same,
            )
            assert way == Plan(again="\n")


def test_a_format_is_decoded_from_the_start_and_only_by_the_same_model() -> None:
    assert planned(TEXT, is_free=False) == Plan(is_replay=True)
    assert planned(TEXT, is_free=False, is_same=False) is None
    calls = Sent(calls={0: CallSent("get", "{")}, tokens=1)
    assert planned(calls, is_free=False) == Plan(is_replay=True)


def test_calls_in_a_free_answer_and_what_cannot_be_compared_end_it() -> None:
    assert planned(Sent(content="a", calls={0: CallSent("get")})) is None
    assert planned(Sent(content="a", function_call=CallSent("get"))) is None
    assert planned(Sent(content="a", has_other=True)) is None


def test_text_that_is_the_same_each_time_may_be_repeated() -> None:
    for same_each_time in ({"temperature": 0}, {"seed": 7}):
        asked = call(stream=True, **same_each_time)
        assert planned(TEXT, asked, engine="openai") == Plan(is_replay=True)
        assert planned(TEXT, asked, engine="openai", is_same=False) is None
    assert planned(TEXT, engine="openai") is None
    assert planned(TEXT, call(stream=True, temperature=1), engine="openai") is None


def test_text_at_temperature_0_is_repeated_unless_it_is_long_or_was_not_repeated() -> None:
    asked = call(stream=True, temperature=0)
    assert planned(TEXT, asked) == Plan(is_replay=True)
    for way in (
        planned(TEXT, asked, is_same=False),
        planned(TEXT, asked, may_repeat=False),
        planned(Sent(content="long", tokens=513), asked),
    ):
        assert way is not None
        assert not way.is_replay


@pytest.mark.parametrize(
    ("engine", "given", "again"), [("vllm", "a.\n", "\n "), ("llamacpp", "a.\n", "\n "), ("openai", "a.", "\n\n ")]
)
def test_whitespace_at_the_end_is_asked_for_again(engine: str, given: str, again: str) -> None:
    sent = Sent(content="a.\n\n ", blank_tail="\n ", blank_tokens=2, tokens=4)
    way = planned(sent, engine=engine, prefill=True)
    assert way is not None
    assert way.changes["messages"][-1]["content"] == given
    assert (way.again, way.kept_tokens) == (again, 2)


def test_an_engine_that_repeats_the_message_is_known_to_do_so() -> None:
    way = planned(Sent(content="a \n", blank_tail="\n", blank_tokens=1, tokens=2), engine="llamacpp")
    assert way is not None
    assert (way.repeated, way.again, way.is_replay) == ("a ", "\n", False)
    way = planned(TEXT, call(stream=True, **COMPLETION), engine="llamacpp")
    assert way is not None
    assert way.repeated == ""


def test_prompts_of_text_completions_get_longer() -> None:
    for engine in ("vllm", "openai", "llamacpp", "ollama", "sglang"):
        for prompt in ("Tell:", ["Tell:"]):
            way = planned(TEXT, call(stream=True, **COMPLETION | {"prompt": prompt}), engine=engine)
            assert way is not None
            assert way.changes["prompt"] == "Tell:Once upon"


def test_prompts_of_token_ids_are_only_repeated() -> None:
    ids = COMPLETION | {"prompt": [1, 2]}
    assert planned(TEXT, call(stream=True, **ids)) is None
    assert planned(TEXT, call(stream=True, temperature=0, **ids)) == Plan(is_replay=True)


def test_an_echoed_prompt_is_not_echoed_again() -> None:
    asked = call(stream=True, echo=True, **COMPLETION)
    way = planned(Sent(content="Tell:Once", tokens=2), asked)
    assert way is not None
    assert (way.changes["prompt"], way.changes["echo"]) == ("Tell:Once", None)
    assert planned(Sent(content="Tel", tokens=1), asked) is None
