"""What an upstream may say where JSON or one of some choices was asked for: right, meant rightly, and wrong.

Each kind makes its text of a right value, of that value's JSON, and of a number that decides what is left open.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Kind = Callable[[dict[str, Any], str, int], str]
Kinds = Mapping[str, Kind]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
CHOICES = ("positive", "negative", "neutral")


def cut(text: str, number: int) -> str:
    """Return some beginning of a text, neither all nor nothing of it."""
    return text[: 1 + number % (len(text) - 1)]


def _end(text: str, more: str) -> str:
    """Put more before an object's closing brace."""
    return text[: text.rindex("}")] + more + "}"


def _escaped(text: str) -> str:
    """Write what may be escaped as `\\u....`, surrogate pairs where it takes two: every letter of the strings."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))


def _all_escaped(value: dict[str, Any], _text: str, _number: int) -> str:
    tags = ",".join(f'"{_escaped(tag)}"' for tag in value["tags"])
    return f'{{"{_escaped("name")}":"{_escaped(value["name"])}","age":{value["age"]},"tags":[{tags}]}}'


def _with(**changed: Any) -> Kind:
    return lambda value, _text, _number: json.dumps(value | changed, ensure_ascii=False)


def _without(name: str) -> Kind:
    return lambda value, _text, _number: json.dumps({key: value[key] for key in value if key != name})


def _age(written: str) -> Kind:
    return lambda value, _text, _number: _end(json.dumps({"name": value["name"]}), f', "age": {written}')


def _name(written: str) -> Kind:
    return lambda value, _text, _number: f'{{"name": "{written}", "age": {value["age"]}}}'


RIGHT: Kinds = {
    "plain": lambda _value, text, _number: text,
    "all escaped": _all_escaped,
    "surrounded by white space": lambda _value, text, _number: f" \r\n\t{text}\n ",
    "other order of keys": lambda value, _text, _number: json.dumps(dict(reversed(value.items()))),
    "a whole number with a point": lambda value, _text, _number: json.dumps(value | {"age": float(value["age"])}),
    "JSON within a string": lambda value, text, _number: json.dumps(value | {"tags": [text, f"```json\n{text}\n```"]}),
}
MEANT: Kinds = {
    "fenced": lambda _value, text, _number: f"```json\n{text}\n```",
    "fenced, without a language": lambda _value, text, _number: f"\n```\n{text}\n```\n",
    "prose before": lambda _value, text, _number: f"Sure! Here is the JSON that you asked for:\n\n{text}",
    "prose after": lambda _value, text, _number: f"{text}\n\nLet me know if you need anything else!",
    "prose and a fence": lambda _value, text, _number: (
        f"Here it is:\n\n```json\n{text}\n```\n\nI hope that this helps."
    ),
    "a byte order mark": lambda _value, text, _number: f"\ufeff{text}",
    "a trailing comma": lambda _value, text, _number: _end(text, ","),
    "a thought before": lambda _value, text, _number: f"<think>\nWho is it?\n</think>\n\n{text}",
}
WRONG: Kinds = {
    "truncated": lambda _value, text, number: cut(text, number),
    "fenced and truncated": lambda _value, text, number: f"```json\n{cut(text, number)}",
    "a key twice": lambda value, text, _number: _end(text, f', "age": {value["age"] + 1}'),
    "an escaped key twice": lambda value, text, _number: _end(text, f', "\\u0061ge": {value["age"] + 1}'),
    "NaN": _age("NaN"),
    "Infinity": _age("-Infinity"),
    "beyond a double": _age("1e999"),
    "a whole number beyond a double": _age("9" * 400),
    "a leading zero": _age("042"),
    "a hexadecimal number": _age("0x2A"),
    "a plus sign": _age("+1"),
    "no value": _age(""),
    "Python's words": _age("None"),
    "a raw line break": _name("a\nb"),
    "a raw control character": _name("a\x01b"),
    "half a surrogate pair": _name("\\ud83d"),
    "a wrong escape": _name("\\x41"),
    "single quotes": lambda value, _text, _number: str({"name": "x", "age": value["age"]}),
    "names without quotes": lambda value, _text, _number: f'{{name: "x", age: {value["age"]}}}',
    "a comment": lambda _value, text, _number: _end(text, " /* the end */"),
    "the same twice": lambda _value, text, _number: f"{text}\n{text}",
    "another JSON after it": lambda value, text, _number: f"{text}\n{json.dumps(value | {'age': value['age'] + 1})}",
    "another JSON in prose": lambda _value, text, _number: f'Either {text} or {{"name": "B", "age": 2}}, as you like.',
    "a brace too many": lambda _value, text, _number: text + "}",
    "a string that holds JSON": lambda _value, text, _number: json.dumps(text),
    "an array around it": lambda _value, text, _number: f"[{text}]",
    "nothing": lambda _value, _text, _number: "",
    "white space": lambda _value, _text, _number: " \n\t",
    "null": lambda _value, _text, _number: "null",
    "prose": lambda _value, _text, _number: "I am sorry, but I cannot do that.",
    "deep nesting": lambda _value, _text, _number: '{"name":' * 5_000,
    "brackets without end": lambda _value, _text, number: "[{"[number % 2] * 20_000,
}
AGAINST_THE_SCHEMA: Kinds = {
    "a number as text": lambda value, _text, _number: json.dumps(value | {"age": str(value["age"])}),
    "a text as number": _with(name=17),
    "null for a text": _with(name=None),
    "out of range": _with(age=-1),
    "a broken number": _with(age=1.5),
    "true for a number": _with(age=True),
    "a missing key": _without("age"),
    "an extra key": _with(comment=""),
    "wrong within": _with(tags=["a", 1]),
    "an empty object": lambda _value, _text, _number: "{}",
    "fenced and wrong": lambda value, _text, _number: f"```json\n{json.dumps(value | {'age': 'x'})}\n```",
}

RIGHT_CHOICE: Kinds = {"plain": lambda _value, text, _number: text}
MEANT_CHOICE: Kinds = {
    "spaced": lambda _value, text, _number: f" {text}\n",
    "quoted": lambda _value, text, _number: f'"{text}"',
    "in backticks": lambda _value, text, _number: f"`{text}`",
    "with a period": lambda _value, text, _number: f"{text}.",
    "fenced": lambda _value, text, _number: f"```\n{text}\n```",
}
WRONG_CHOICE: Kinds = {
    "capital": lambda _value, text, _number: text.capitalize(),
    "none of them": lambda _value, _text, _number: "good",
    "in a sentence": lambda _value, text, _number: f"The answer is {text}",
    "two of them": lambda _value, text, _number: f"{text}, neutral",
    "truncated": lambda _value, text, number: cut(text, number),
    "nothing": lambda _value, _text, _number: "",
    "explained": lambda _value, text, _number: f"{text}, because it says so",
}
