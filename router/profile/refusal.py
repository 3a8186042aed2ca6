"""Read an upstream's refusal: what would have to be changed for it to take the request? Pure.

Vendors word their refusals differently. So a refusal is read by its `param`, its code and key words, never by one
vendor's sentence. A reading may be wrong: it is remembered only if the changed request is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from router.errors import UpstreamRejected
from router.profile import schema_forms
from router.profile.adaptation import Adaptation
from router.profile.fields import plain
from router.structured.complexity import iter_objects

Proposal = tuple[Adaptation, ...]
"""adaptations that are tried together"""
ESSENTIAL = frozenset(
    {"model", "messages", "prompt", "input", "stream", "tools", "functions", "n", "response_format", "suffix"}
    | {"structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar", "grammar", "json_schema"}
)
"""the request would be another one without these fields"""
_DEFAULTS: Mapping[str, Any] = {"n": 1}
"""with this value, an essential field asks for what is given without it, too"""
OTHER_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens", "functions": "tools"}
_INSTEAD = re.compile(r"\buse [`'\"\u2018\u201c]?(\w+)[`'\"\u2019\u201d]? instead", re.IGNORECASE)
_NUMBER = r"[`'\"]?(-?\d+(?:\.\d+)?)"
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
_CALL_ID = re.compile(r"tool_call_id|tool_(?:calls|use).{0,12}\bid\b|call.?id", re.IGNORECASE)
_SCHEMA = re.compile(
    r"schema|grammar|one_?of|any_?of|all_?of|\$ref|\$defs|look.?(?:around|ahead|behind)|regex|pattern|parameters|"
    r"response_format|keyword",
    re.IGNORECASE,
)
_FORMAT = re.compile(r"response.?format|json_(?:schema|object)|structured.?output|guided", re.IGNORECASE)
_KEYWORDS = frozenset(
    {"additionalProperties", "allOf", "anyOf", "const", "dependentRequired", "dependentSchemas", "exclusiveMaximum",
     "exclusiveMinimum", "format", "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "multipleOf",
     "oneOf", "pattern", "patternProperties", "prefixItems", "propertyNames", "unevaluatedProperties", "uniqueItems"}
)  # fmt: skip
_LOOK_AROUND = re.compile(r"\(\?<?[=!]")
_REFUSING = re.compile(
    r"(?:not|n't|un|only)\W{0,2}(?:\w+ ){0,2}?(?:support|allow|permit|accept|recogni|expect|enable)|\u4e0d\u652f\u6301",
    re.IGNORECASE,
)
_DETAILS = ("details", "errors", "metadata")
"""of Google, of RFC 9457's problems, of OpenRouter"""
MAX_DETAILS_CHARS = 2000
_TOOL_AT = re.compile(r"tools?[.\[](\d+)")


def proposals(error: UpstreamRejected, fields: dict[str, Any]) -> Iterator[Proposal]:
    """Yield what may make the upstream take the fields, the likeliest first."""
    message, text = words_of(error)[0], _text_of(error)
    yield from _forms(text, fields)
    named = _named(error, fields)
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
    droppable = [path for path in named if path not in ESSENTIAL or _DEFAULTS.get(path) == plain(fields, path)]
    if len(droppable) > 1 and _ONE_OF_THEM.search(message):
        yield (_refusal_of(droppable[-1], error.code, fields),)
    if droppable:
        yield tuple(_refusal_of(path, error.code, fields) for path in droppable)
    if _SCHEMA.search(text):
        yield from _schema_forms(text, fields)


def is_about_format(error: UpstreamRejected) -> bool:
    """Return whether a refusal may be one of the output format, or of its schema."""
    text = _text_of(error)
    return _FORMAT.search(text) is not None or _SCHEMA.search(text) is not None


def words_of(error: UpstreamRejected) -> tuple[str, str]:
    """Return the message and the `param` of a refusal; the parts of the `param` are separated by dots."""
    param = re.sub(r"\[(\w+)\]", r".\1", str(error.error.get("param") or ""))
    return str(error.error.get("message") or ""), param.removeprefix("body.")


def _text_of(error: UpstreamRejected) -> str:
    message, param = words_of(error)
    return f"{param} {message} {error.code or ''}"


def _forms(text: str, fields: dict[str, Any]) -> Iterator[Proposal]:
    if _CALL_ID.search(text):
        numbers = {int(number) for number in re.findall(r"(?<![-\d])\d+", text)}  # not of 0-9
        yield (Adaptation("wants", "call_ids_9" if 9 in numbers and 40 not in numbers else "call_ids_40"),)
    for want, words in _FORMS:
        if words.search(text) and "messages" in fields:
            yield (Adaptation("wants", want),)


def _named(error: UpstreamRejected, fields: dict[str, Any]) -> list[str]:
    """Return the paths of the fields that a refusal names: clearly, or else anywhere, or else in its details."""
    (message, param), paths = words_of(error), [*_paths(fields)]
    if found := [path for path in paths if _is_named(path, param, message)]:
        return found
    details = " ".join(str(error.error[name]) for name in _DETAILS if error.error.get(name))[:MAX_DETAILS_CHARS]
    texts = [message, details] if _REFUSING.search(message) else [details]
    for text in texts:
        if found := [
            path for path in paths if re.search(rf"(?<![A-Za-z_]){path.rpartition('.')[2]}(?![A-Za-z_])", text)
        ]:
            return found
    return []


def _paths(fields: dict[str, Any]) -> Iterator[str]:
    """Yield the paths of all fields that may be refused, with `*` for the entries of lists."""
    yield from (name for name in fields if name not in ESSENTIAL or name in _DEFAULTS)
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
            rf"(?<!\w){word}: ",
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
    is_value = path in _DEFAULTS or (code == "unsupported_value" and isinstance(value, str))
    return Adaptation("refuses", path, value if is_value else None)


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
        yield _unenforced(named)
        return
    for suspects in _suspects(text, parameters):
        yield _unenforced(suspects)
    if tools and not isinstance(wrapper, dict):
        yield _unenforced(parameters)


def _unenforced(schemas: Iterable[Mapping[str, Any]]) -> Proposal:
    return tuple(Adaptation("unenforced", schema_forms.digest(schema)) for schema in schemas)


def _suspects(text: str, schemas: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield some of several schemas that a refusal may mean: with a keyword that it names, or with a look-around."""
    words = _KEYWORDS & {*re.findall(r"[$\w]+", text)}
    for found in (
        [schema for schema in schemas if any(not words.isdisjoint(node) for node in iter_objects(schema))],
        [schema for schema in schemas if any(_looks_around(node.get("pattern")) for node in iter_objects(schema))],
    ):
        if 0 < len(found) < len(schemas):
            yield found


def _looks_around(pattern: object) -> bool:
    return isinstance(pattern, str) and _LOOK_AROUND.search(pattern) is not None


def _tools_named(text: str, tools: list[dict[str, Any]]) -> list[int]:
    """Return which tools a refusal names: by their place, or by their name."""
    places = {int(place) for place in _TOOL_AT.findall(text) if int(place) < len(tools)}
    names = [str(tool["function"].get("name")) for tool in tools]
    return sorted(places | {at for at, name in enumerate(names) if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)})
