"""Read an upstream's refusal: what would have to be changed for it to take the request? Pure.

Vendors word their refusals differently. So a refusal is read by its `param`, its code and key words, never by one
vendor's sentence. A reading may be wrong: it is remembered only if the changed request is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from router.errors import UpstreamRejected
from router.profile import schema_forms
from router.profile.adaptation import Adaptation
from router.profile.fields import plain

Proposal = tuple[Adaptation, ...]
"""adaptations that are tried together"""
ESSENTIAL = frozenset(
    {"model", "messages", "prompt", "input", "stream", "tools", "functions", "n", "response_format", "suffix"}
    | {"structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "grammar", "json_schema"}
)
"""the request would be another one without these fields"""
OTHER_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens", "functions": "tools"}
_INSTEAD = re.compile(r"\buse [`'\"\u2018\u201c]?(\w+)[`'\"\u2019\u201d]? instead", re.IGNORECASE)
_NUMBER = r"(-?\d+(?:\.\d+)?)"
_BOUND = re.compile(
    r"(?:at most|maximum(?: value| length)?(?: of| is)?|less than or equal to|no (?:more|greater) than|up to|"
    rf"<=?|\u2264|max(?:imum)?:?|>|\d+ ?(?:,|\.\.|and|to|-)) *{_NUMBER}",
    re.IGNORECASE,
)
_ONE_OF_THEM = re.compile(r"\bboth\b|only one|\beither\b", re.IGNORECASE)
_FORMS = (
    ("json_word", re.compile(r"\bword\b.{0,20}json|contain.{0,20}json", re.IGNORECASE)),
    ("no_developer", re.compile(r"developer", re.IGNORECASE)),
    ("alternating_roles", re.compile(r"alternat|consecutive|same role", re.IGNORECASE)),
    ("system_first", re.compile(r"system.{0,60}(?:beginning|first|start)", re.IGNORECASE)),
    ("no_system", re.compile(r"system.{0,40}(?:not? |n't |un)(?:supported|allowed|accepted)|(?:not? |n't )"
                             r"(?:support|allow|accept)\w* (?:the )?system", re.IGNORECASE)),
    ("text_content", re.compile(r"content.{0,60}\b(?:string|str|text)\b|expected (?:a )?str|not .?list",
                                re.IGNORECASE)),
)  # fmt: skip
_CALL_ID = re.compile(r"tool_call_id|tool_calls.{0,12}\bid\b|call.?id", re.IGNORECASE)
_SCHEMA = re.compile(
    r"schema|grammar|one_?of|any_?of|all_?of|\$ref|\$defs|look.?(?:around|ahead|behind)|regex|pattern|parameters|"
    r"response_format|keyword",
    re.IGNORECASE,
)
_TOOL_AT = re.compile(r"tools?[.\[](\d+)")


def proposals(error: UpstreamRejected, fields: dict[str, Any]) -> Iterator[Proposal]:
    """Yield what may make the upstream take the fields, the likeliest first."""
    message, param = words_of(error)
    text = f"{param} {message} {error.code or ''}"
    yield from _forms(text, fields)
    named = [path for path in _paths(fields) if _is_named(path, param, message)]
    if instead := _INSTEAD.search(message):
        yield from (
            (Adaptation("renames", path, instead[1]),)
            for path in named
            if "." not in path and instead[1] not in (path, *fields)
        )
    for path in named:
        if path in OTHER_NAMES and OTHER_NAMES[path] not in fields and not _limit(path, message, fields):
            yield (Adaptation("renames", path, OTHER_NAMES[path]),)
    if limits := tuple(limit for path in named if (limit := _limit(path, message, fields))):
        yield limits
    droppable = [path for path in named if path not in ESSENTIAL]
    if len(droppable) > 1 and _ONE_OF_THEM.search(message):
        yield (_refusal_of(droppable[-1], error.code, fields),)
    if droppable:
        yield tuple(_refusal_of(path, error.code, fields) for path in droppable)
    if _SCHEMA.search(text):
        yield from _schema_forms(text, fields)


def words_of(error: UpstreamRejected) -> tuple[str, str]:
    """Return the message and the `param` of a refusal; the parts of the `param` are separated by dots."""
    param = re.sub(r"\[(\w+)\]", r".\1", str(error.error.get("param") or ""))
    return str(error.error.get("message") or ""), param.removeprefix("body.")


def _forms(text: str, fields: dict[str, Any]) -> Iterator[Proposal]:
    for want, words in _FORMS:
        if words.search(text) and "messages" in fields:
            yield (Adaptation("wants", want),)
    if _CALL_ID.search(text):
        numbers = {int(number) for number in re.findall(r"\d+", text)}
        yield (Adaptation("wants", "call_ids_9" if 9 in numbers and 40 not in numbers else "call_ids_40"),)


def _paths(fields: dict[str, Any]) -> Iterator[str]:
    """Yield the paths of all fields that may be refused, with `*` for the entries of lists."""
    yield from (name for name in fields if name not in ESSENTIAL)
    found: dict[str, None] = {}
    for message in plain(fields, "messages") or ():
        _add_keys(found, "messages.*", message, {"role", "content", "tool_calls", "tool_call_id"})
        for call in message.get("tool_calls") or ():
            _add_keys(found, "messages.*.tool_calls.*", call, {"id", "type", "function"})
    for tool in plain(fields, "tools") or ():
        function = tool.get("function")
        _add_keys(found, "tools.*.function", function, {"name", "description", "parameters"})
        _add_keys(found, "tools.*", tool, {"type", "function"})
    yield from found


def _add_keys(found: dict[str, None], path: str, value: object, known: Iterable[str]) -> None:
    if isinstance(value, Mapping):
        found.update(dict.fromkeys(f"{path}.{key}" for key in value if key not in known))


def _is_named(path: str, param: str, message: str) -> bool:
    """Return whether a refusal names the field: as its `param`, quoted, as a parameter, or as the sentence's subject.

    A name with an underscore is no word of a sentence, so it is enough that it occurs.
    """
    first, _, name = path.rpartition(".")
    parts = param.split(".")
    if parts[0] == (first or name).partition(".")[0] and (not first or name in parts[1:]):
        return True
    word = re.escape(name)
    if "_" in name:
        camel = re.sub(r"_(\w)", lambda letter: letter[1].upper(), name)
        return re.search(rf"(?<!\w)(?:{word}|{camel})(?!\w)", message) is not None
    return any(
        re.search(pattern, message, re.IGNORECASE)
        for pattern in (
            rf"[`'\"\u2018\u201c\[]{word}[`'\"\u2019\u201d\]]",
            rf"(?:parameter|argument|field|propert|option|key|input)\w*(?:\(s\))?(?: supplied)?\W+(?:\w+, )*{word}\b",
            rf": (?:\w+, )*{word}(?:, \w+)*\.?$",
            rf"\b{word}(?:(?:,| and| or) \w+)*"
            r"(?: parameters?| arguments?| fields?)? (?:is|are|was|not|un|only|does|cannot|must)",
        )
    )


def _limit(path: str, message: str, fields: dict[str, Any]) -> Adaptation | None:
    value = None if "." in path else plain(fields, path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    bounds = [float(found) for found in _BOUND.findall(message)]
    return next((Adaptation("limits", path, bound) for bound in bounds if bound < value), None)


def _refusal_of(path: str, code: str | None, fields: dict[str, Any]) -> Adaptation:
    value = None if "." in path else plain(fields, path)
    return Adaptation("refuses", path, value if code == "unsupported_value" and isinstance(value, str) else None)


def _schema_forms(text: str, fields: dict[str, Any]) -> Iterator[Proposal]:
    tools = [tool for tool in plain(fields, "tools") or () if isinstance(tool.get("function"), dict)]
    parameters = [tool["function"].get("parameters") or {} for tool in tools]
    wanted = plain(fields, "response_format")
    wrapper = wanted.get("json_schema") if isinstance(wanted, dict) else None
    schemas = [*parameters, *([wrapper.get("schema")] if isinstance(wrapper, dict) else [])]
    forms = [
        *([Adaptation("wants", "any_of")] if any(map(schema_forms.has_one_of, schemas)) else []),
        *([Adaptation("wants", "defs")] if any(map(schema_forms.refers_elsewhere, schemas)) else []),
    ]
    if forms:
        yield tuple(forms)
    if named := [parameters[at] for at in _tools_named(text, tools)]:
        yield tuple(Adaptation("unenforced", schema_forms.digest(schema)) for schema in named)
    elif tools and not isinstance(wrapper, dict):
        yield tuple(Adaptation("unenforced", schema_forms.digest(schema)) for schema in parameters)


def _tools_named(text: str, tools: list[dict[str, Any]]) -> list[int]:
    """Return which tools a refusal names: by their place, or by their name."""
    places = {int(place) for place in _TOOL_AT.findall(text) if int(place) < len(tools)}
    names = [str(tool["function"].get("name")) for tool in tools]
    return sorted(places | {at for at, name in enumerate(names) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)})
