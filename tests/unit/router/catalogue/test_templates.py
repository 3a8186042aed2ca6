"""The chat templates of the catalogue, rendered as vLLM renders them (transformers' sandbox and options)."""

# ruff: noqa: RUF001 - DeepSeek's tokens have wide bars

from __future__ import annotations

import json
from typing import Any

import pytest

from router.catalogue.bundled import TEMPLATES

sandbox = pytest.importorskip("jinja2.sandbox")

NAMES = sorted(file.name for file in TEMPLATES.iterdir())
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
LISTED = json.dumps(TOOL["function"])
USER = {"role": "user", "content": "Weather in Paris?"}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "id": "c1", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
WRITTEN = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
TURNS: list[dict[str, Any]] = [
    SYSTEM,
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]},
    {"role": "tool", "content": "18 degrees", "tool_call_id": "c1"},
]


def render(name: str, messages: list[dict[str, Any]], tools: list[Any] | None = None, **variables: Any) -> str:
    environment = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string((TEMPLATES / name).read_text(encoding="utf-8"))
    variables = {"add_generation_prompt": True, "bos_token": "<bos>"} | variables
    text: str = template.render(messages=messages, tools=tools, **variables)
    return text


PLAIN = {
    "phi-4-mini.jinja": "<|user|>Weather in Paris?<|end|><|assistant|>",
    "deepseek-r1-distill.jinja": "<bos><｜User｜>Weather in Paris?<｜Assistant｜><think>\n",
    "nemotron-h-reasoning.jinja": (
        "<SPECIAL_10>System\n{'reasoning': True}\n<SPECIAL_11>User\nWeather in Paris?\n<SPECIAL_11>Assistant\n<think>\n"
    ),
    "smollm2.jinja": (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWeather in Paris?<|im_end|>\n<|im_start|>assistant\n"
    ),
}
WITH_SYSTEM = {
    "phi-4-mini.jinja": "<|system|>Be brief.<|end|><|user|>Weather in Paris?<|end|><|assistant|>",
    "deepseek-r1-distill.jinja": "<bos><｜User｜>Be brief.\n\nWeather in Paris?<｜Assistant｜><think>\n",
    "nemotron-h-reasoning.jinja": (
        "<SPECIAL_10>System\nBe brief.\n{'reasoning': True}\n<SPECIAL_11>User\nWeather in Paris?"
        "\n<SPECIAL_11>Assistant\n<think>\n"
    ),
    "smollm2.jinja": (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWeather in Paris?<|im_end|>\n<|im_start|>assistant\n"
    ),
}
HISTORY = {
    "phi-4-mini.jinja": (
        f"<|assistant|><|tool_call|>[{WRITTEN}, {WRITTEN}]<|/tool_call|><|end|>"
        "<|tool_response|>18 degrees<|end|><|assistant|>"
    ),
    "deepseek-r1-distill.jinja": (
        f"<｜Assistant｜><tool_call>\n{WRITTEN}\n</tool_call><tool_call>\n{WRITTEN}\n</tool_call><｜end▁of▁sentence｜>"
        "<｜User｜><tool_response>\n18 degrees\n</tool_response><｜Assistant｜><think>\n"
    ),
    "nemotron-h-reasoning.jinja": (
        f"\n<SPECIAL_11>Assistant\n<TOOLCALL>[{WRITTEN}, {WRITTEN}]</TOOLCALL>\n"
        "<SPECIAL_11>User\n<TOOL_RESPONSE>[18 degrees]</TOOL_RESPONSE>\n<SPECIAL_11>Assistant\n<think>\n"
    ),
    "smollm2.jinja": (
        f"<|im_start|>assistant\n<tool_call>[{WRITTEN}, {WRITTEN}]</tool_call><|im_end|>\n"
        "<|im_start|>tool\n18 degrees<|im_end|>\n<|im_start|>assistant\n"
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_question_is_rendered(name: str) -> None:
    assert render(name, [USER]) == PLAIN[name]
    assert render(name, [SYSTEM, USER]) == WITH_SYSTEM[name]
    assert render(name, [SYSTEM, {**USER, "content": None}]).count("None") == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("messages", [[USER], [SYSTEM, USER], [SYSTEM], TURNS], ids=str)
def test_the_tools_of_a_request_are_in_its_prompt_once(name: str, messages: list[dict[str, Any]]) -> None:
    text = render(name, messages, [TOOL])
    assert text.count(LISTED) == 1
    assert ("Be brief." in text) == (SYSTEM in messages)


@pytest.mark.parametrize("name", NAMES)
def test_calls_and_their_results_are_rendered(name: str) -> None:
    text = render(name, TURNS, [TOOL])
    assert text.endswith(HISTORY[name])
    as_text = [{**CALL, "function": {**CALL["function"], "arguments": '{"city": "Paris"}'}}]  # type: ignore[dict-item]
    assert render(name, [*TURNS[:2], {**TURNS[2], "tool_calls": as_text * 2}, TURNS[3]], [TOOL]) == text


@pytest.mark.parametrize("name", NAMES)
def test_without_a_prompt_for_the_answer_the_conversation_ends(name: str) -> None:
    whole, turns = render(name, TURNS), render(name, TURNS, add_generation_prompt=False)
    assert whole.startswith(turns)
    assert "18 degrees" in turns[-80:]
    assert "ssistant" not in turns[-30:]


def test_old_thoughts_of_deepseek_are_left_out() -> None:
    answer = {"role": "assistant", "content": "<think>\nhm\n</think>It is 18."}
    text = render("deepseek-r1-distill.jinja", [USER, answer, USER])
    assert "hm" not in text
    assert "<｜Assistant｜>It is 18.<｜end▁of▁sentence｜>" in text


@pytest.mark.parametrize(
    ("system", "variables", "end"),
    [
        (None, {"enable_thinking": False}, "<think></think>"),
        (None, {"enable_thinking": True}, "<think>\n"),
        ("{'reasoning': False}", {}, "<think></think>"),
        ("{'reasoning': True}", {"enable_thinking": True}, "<think>\n"),
    ],
)
def test_the_thoughts_of_nemotron_h_can_be_turned_off(system: str | None, variables: dict[str, Any], end: str) -> None:
    messages = [{"role": "system", "content": system}, USER] if system else [USER]
    text = render("nemotron-h-reasoning.jinja", messages, **variables)
    assert text.endswith(f"<SPECIAL_11>Assistant\n{end}")
    assert text.count("'reasoning'") == 1
