"""How each family writes thoughts and tool calls, after its documentation: texts that a model of it would say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Call(NamedTuple):
    """A tool call."""

    name: str
    arguments: dict[str, Any]


Format = Callable[[list[Call]], str]


class Thoughts(NamedTuple):
    """What stands before and after thoughts."""

    before: str
    after: str


THINKS = Thoughts("<think>\n", "\n</think>\n\n")
GOES_ON_THINKING = Thoughts("", "\n</think>\n\n")
"""The template has written <think>."""
CHANNEL = Thoughts("<|channel>thought\n", "<channel|>")
"""Gemma 4."""


def hermes(calls: list[Call]) -> str:
    """Qwen3, SmolLM3, Granite 4: one JSON object between two tags for each call."""
    return "\n".join(f"<tool_call>\n{_object(call)}\n</tool_call>" for call in calls)


def bare_list(calls: list[Call]) -> str:
    """xLAM-2: a JSON list of all calls, and nothing else."""
    return f"[{', '.join(map(_object, calls))}]"


def functools(calls: list[Call]) -> str:
    """Phi-4-mini with the prompt that vLLM's parser for it was written for: the same list after a word."""
    return f"functools{bare_list(calls)}"


def phi4_tokens(calls: list[Call]) -> str:
    """Phi-4-mini: the same list between two tokens."""
    return f"<|tool_call|>{bare_list(calls)}<|/tool_call|>"


def tagged_list(calls: list[Call]) -> str:
    """SmolLM2-1.7B: the same list between two tags."""
    return f"<tool_call>{bare_list(calls)}</tool_call>"


def toolcall_list(calls: list[Call]) -> str:
    """Nemotron before its third generation: the same list between other tags."""
    return f"<TOOLCALL>{bare_list(calls)}</TOOLCALL>"


def qwen_xml(calls: list[Call]) -> str:
    """Qwen3.5, Nemotron 3: one element for each argument; texts as they are, the rest as JSON."""
    return "\n".join(
        f"<tool_call>\n<function={call.name}>\n"
        + "".join(f"<parameter={name}>\n{_bare(value)}\n</parameter>\n" for name, value in call.arguments.items())
        + "</function>\n</tool_call>"
        for call in calls
    )


def python_list(calls: list[Call]) -> str:
    """Python's calls in a list, and nothing else."""

    def written(call: Call) -> str:
        return f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})"

    return f"[{', '.join(map(written, calls))}]"


def lfm2(calls: list[Call]) -> str:
    """LFM2: the same between two tokens."""
    return f"<|tool_call_start|>{python_list(calls)}<|tool_call_end|>"


def gemma4(calls: list[Call]) -> str:
    """Gemma 4: keys bare, texts between two <|"|>, the rest as JSON."""
    return "".join(f"<|tool_call>call:{call.name}{_gemma(call.arguments)}<tool_call|>" for call in calls)


def _gemma(value: Any) -> str:
    match value:
        case str():
            return f'<|"|>{value}<|"|>'
        case dict():
            return "{" + ",".join(f"{key}:{_gemma(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_gemma, value)) + "]"
    return json.dumps(value)


def _object(call: Call) -> str:
    return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)


def _bare(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
