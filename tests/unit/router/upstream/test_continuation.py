"""How each engine is asked for the rest of an answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from router.types import ChatCall
from router.upstream.continuation import Beginning, continued_messages, continued_prompt
from router.upstream.dialects import DIALECTS
from tests.support.fakes import QUESTION, call, model

BEGINNING = Beginning("Once", "Hm.")
PLAIN = [*QUESTION, {"role": "assistant", "content": "Once"}]
WITH_THOUGHTS = [*QUESTION, {"role": "assistant", "content": "Once", "reasoning_content": "Hm."}]
ASKED = call(stream=True)
SAME = ("model", "stream", "stream_options", "repetition_detection")
"""fields that are the same from the start"""


def asked_for(engine: str, asked: ChatCall = ASKED, **entry: Any) -> Any:
    """Return the body as it is sent, without those."""
    one, dialect = model(engine=engine, **entry), DIALECTS[engine]
    changes = dialect.continuation(asked, one, BEGINNING)
    if changes is None:
        return None
    body = json.loads(msgspec.json.encode(dialect.body(asked.replaced(changes), one)[0]))
    return {name: value for name, value in body.items() if name not in SAME}


@pytest.mark.parametrize(
    ("engine", "body"),
    [
        ("vllm", {"messages": WITH_THOUGHTS, "continue_final_message": True, "add_generation_prompt": False}),
        ("sglang", {"messages": WITH_THOUGHTS, "continue_final_message": True}),
        ("llamacpp", {"messages": PLAIN}),
    ],
)
def test_engines_that_go_on_from_a_message(engine: str, body: dict[str, Any]) -> None:
    assert asked_for(engine) == asked_for(engine, prefill=True) == body
    assert asked_for(engine, prefill=False) is None


@pytest.mark.parametrize("engine", ["openai", "ollama", "llama-cpp-python", "transformers"])
def test_the_others_do_so_if_models_yaml_says_so(engine: str) -> None:
    assert asked_for(engine) is None
    assert asked_for(engine, prefill=True) == {"messages": PLAIN}


@pytest.mark.parametrize("engine", [name for name, one in DIALECTS.items() if "completions" in one.abilities])
@pytest.mark.parametrize("prefill", [None, False])
def test_every_engine_goes_on_with_a_text(engine: str, prefill: bool | None) -> None:
    asked = call(endpoint="completions", prompt="Tell: ")
    assert asked_for(engine, asked, prefill=prefill)["prompt"] == "Tell: Once"


@pytest.mark.parametrize("prompt", [[1, 2], [[1, 2]], ["a", "b"]])
def test_a_prompt_that_is_no_single_text_cannot_get_longer(prompt: Any) -> None:
    assert continued_prompt(call(endpoint="completions", prompt=prompt), BEGINNING) is None


def test_a_message_that_the_client_began_is_one_with_the_beginning() -> None:
    begun = [*QUESTION, {"role": "assistant", "content": "Well: ", "name": "x"}]
    joined = [*QUESTION, {"role": "assistant", "content": "Well: Once", "name": "x"}]
    asked = call(messages=begun, continue_final_message=True, add_generation_prompt=False)
    assert asked_for("vllm", asked)["messages"] == joined
    assert asked_for("sglang", asked)["messages"] == joined
    assert asked_for("openai", call(messages=begun), prefill=True)["messages"] == joined
    assert asked_for("llamacpp", call(messages=begun)) is None, "its answer repeats both"
    assert asked_for("vllm", call(messages=begun))["messages"] == [*begun, WITH_THOUGHTS[-1]], "vLLM began a new one"


@pytest.mark.parametrize("last", [{"content": None, "tool_calls": [{}]}, {"content": [{"type": "text", "text": "x"}]}])
def test_other_messages_of_the_assistant_stay_as_they_are(last: dict[str, Any]) -> None:
    messages = [*QUESTION, {"role": "assistant", **last}]
    assert continued_messages(call(messages=messages), Beginning("Once"), joins=True) == [*messages, PLAIN[-1]]


def test_an_echoed_message_cannot_be_told_from_the_answer() -> None:
    assert asked_for("vllm", call(echo=True)) is None
