"""Calls as model families write them in text, after their chat templates. Shares no code with the readers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

BAR = "\uff5c"
"""a full-width bar, around the names of DeepSeek's tokens"""
Made = tuple[str, Mapping[str, Any]]
"""a function's name and its arguments"""


class Writer(NamedTuple):
    """One way to write calls."""

    format: str
    """the name in FORMATS"""
    variant: str
    write: Callable[[Sequence[Made]], str]

    def __str__(self) -> str:
        return f"{self.format}: {self.variant}"


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _object(made: Made, key: str = "arguments") -> str:
    return _dumps({"name": made[0], key: made[1]})


def _openai(made: Made) -> str:
    return _dumps({"type": "function", "function": {"name": made[0], "arguments": made[1]}})


def _list(calls: Sequence[Made]) -> str:
    return _dumps([{"name": name, "arguments": arguments} for name, arguments in calls])


def _each(template: str, between: str = "\n") -> Callable[[Sequence[Made]], str]:
    """Write each call as JSON into a template."""
    return lambda calls: between.join(template.replace("%s", _object(made)) for made in calls)


def _python(calls: Sequence[Made], between: str = ", ") -> str:
    return between.join(
        f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})" for name, given in calls
    )


def _parameter(key: str, value: object) -> str:
    written = value if isinstance(value, str) else _dumps(value) if isinstance(value, list | dict) else str(value)
    return f"<parameter={key}>\n{written}\n</parameter>\n"


def _qwen(made: Made) -> str:
    return f"<function={made[0]}>\n{''.join(_parameter(key, value) for key, value in made[1].items())}</function>"


def _gemma_value(value: object, quote: str) -> str:
    match value:
        case str():
            return f"{quote}{value}{quote}"
        case bool():
            return "true" if value else "false"
        case dict():
            return f"{{{','.join(f'{key}:{_gemma_value(item, quote)}' for key, item in value.items())}}}"
        case list():
            return f"[{','.join(_gemma_value(item, quote) for item in value)}]"
    return str(value)


def _gemma(opening: str, closing: str, quote: str) -> Callable[[Sequence[Made]], str]:
    return lambda calls: "".join(
        f"{opening}call:{name}{_gemma_value(dict(given), quote)}{closing}" for name, given in calls
    )


def _r1(calls: Sequence[Made], between: str = "▁", *, inner: bool = True) -> str:
    begin, call, sep, call_end, end = (
        _token(words, between)
        for words in ("tool calls begin", "tool call begin", "tool sep", "tool call end", "tool calls end")
    )
    first = call if inner else ""
    written = (f"{first}function{sep}{name}\n```json\n{_dumps(given)}\n```{call_end}" for name, given in calls)
    return begin + "\n".join(written) + end


def _v31(calls: Sequence[Made]) -> str:
    written = (
        _token("tool call begin") + name + _token("tool sep") + _dumps(given) + _token("tool call end")
        for name, given in calls
    )
    return _token("tool calls begin") + "".join(written) + _token("tool calls end")


def _token(words: str, between: str = "▁") -> str:
    return f"<{BAR}{between.join(words.split())}{BAR}>"


def _mistral(between: str) -> Callable[[Sequence[Made]], str]:
    return lambda calls: "".join(f"[TOOL_CALLS]{name}{between}{_dumps(given)}" for name, given in calls)


WRITERS = (
    Writer("JSON", "xLAM-2", _list),
    Writer("JSON", "fenced list", lambda calls: f"```json\n{_list(calls)}\n```"),
    Writer("JSON", "Llama 3", lambda calls: "; ".join(_object(made, "parameters") for made in calls)),
    Writer("JSON", "one a line", _each("%s")),
    Writer("JSON", "one a fence", _each("```json\n%s\n```")),
    Writer("JSON", "as in the API", lambda calls: "\n".join(map(_openai, calls))),
    Writer("tagged JSON", "Hermes", _each("<tool_call>\n%s\n</tool_call>")),
    Writer("tagged JSON", "SmolLM2", lambda calls: f"<tool_call>{_list(calls)}</tool_call>"),
    Writer("tagged JSON", "Granite 3.1", lambda calls: f"<tool_call> {_list(calls)}"),
    Writer(
        "function tags",
        "Qwen3-Coder",
        lambda calls: "\n".join(f"<tool_call>\n{_qwen(made)}\n</tool_call>" for made in calls),
    ),
    Writer("function tags", "without the outer tags", lambda calls: "\n".join(map(_qwen, calls))),
    Writer(
        "function tags",
        "Llama 3.1",
        lambda calls: "".join(f"<function={name}>{_dumps(given)}</function>" for name, given in calls),
    ),
    Writer("Nemotron", "Nano v2", lambda calls: f"<TOOLCALL>{_list(calls)}</TOOLCALL>"),
    Writer("Nemotron", "Mini", _each("<toolcall> %s </toolcall>")),
    Writer("functools", "Phi-4-mini", lambda calls: f"functools{_list(calls)}"),
    Writer("token and JSON", "Phi-4-mini", lambda calls: f"<|tool_call|>{_list(calls)}<|/tool_call|>"),
    Writer("token and JSON", "Phi-4-mini, one each", _each("<|tool_call|>%s<|/tool_call|>", "")),
    Writer("token and JSON", "Granite 3", lambda calls: f"<|tool_call|>{_list(calls)}"),
    Writer(
        "python tag",
        "Llama 3",
        lambda calls: "<|python_tag|>" + "; ".join(_object(made, "parameters") for made in calls),
    ),
    Writer("python tag", "a Python list", lambda calls: f"<|python_tag|>[{_python(calls)}]"),
    Writer("Python list", "Llama 3.2", lambda calls: f"[{_python(calls)}]"),
    Writer("tool code", "Gemma 3", lambda calls: "```tool_code\n" + _python(calls, "\n") + "\n```"),
    Writer("tool code", "a list", lambda calls: f"```tool_code\n[{_python(calls)}]\n```"),
    Writer("LFM2", "Python", lambda calls: f"<|tool_call_start|>[{_python(calls)}]<|tool_call_end|>"),
    Writer("LFM2", "JSON", lambda calls: f"<|tool_call_start|>{_list(calls)}<|tool_call_end|>"),
    Writer("FunctionGemma", "270M", _gemma("<start_function_call>", "<end_function_call>", "<escape>")),
    Writer("Gemma 4", "E2B", _gemma("<|tool_call>", "<tool_call|>", '<|"|>')),
    Writer("Mistral", "before v11", lambda calls: f"[TOOL_CALLS]{_list(calls)}"),
    Writer("Mistral", "v11", _mistral("")),
    Writer("Mistral", "v13", _mistral("[ARGS]")),
    Writer("Mistral", "with ids", _mistral("[CALL_ID]a1B2c3D4e[ARGS]")),
    Writer(
        "name and JSON",
        "Mistral without tokens",
        lambda calls: "".join(f"{name}{_dumps(given)}" for name, given in calls),
    ),
    Writer("DeepSeek", "R1", _r1),
    Writer("DeepSeek", "R1, underscores", lambda calls: _r1(calls, "_")),
    Writer("DeepSeek", "R1, spaces", lambda calls: _r1(calls, " ")),
    Writer("DeepSeek", "R1, escaped", lambda calls: _r1(calls, r"\_")),
    Writer("DeepSeek", "R1, only the outer tokens", lambda calls: _r1(calls, inner=False)),
    Writer("DeepSeek", "V3.1", _v31),
)
