"""Name the task of a call. Agents fill templates: the constant part names the task, which has its own evidence. Pure.

The constant part is the system prompt without its variables (dates, numbers, identifiers, data of the user), the tools,
the output format, and the route. A call without any of these is named by the labels that the lines of its prompt begin
with (`Question:`, `A.`, `## Input`).

If one template gets two names, both may fall back to the evidence of the route. If two templates share a name, each is
judged by evidence of the other, which is worse. So only parts that certainly vary are masked.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.structs import replace

from router.messages.prompt import texts
from router.structured.request.output_format import format_fields
from router.types import ChatCall

DIGEST_BYTES = 8
CACHED_PROMPTS = 256
"""masked system prompts in the cache; agents repeat theirs"""
MAX_TEMPLATE_CHARS = 32_768
"""characters of a text that name the task; the rest is ignored"""

_SYSTEM_ROLES = ("system", "developer")
_VARIABLE = re.compile(
    r"""
      \b[a-z][a-z0-9+.-]{1,15}://[^\s<>"')\]]+                           # an address
    | [\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+                        # mail
    | \b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b
    | \b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?
        |oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b(?=\.?[ ]\d)         # a month before its day or year
    | \b(?=[a-f-]{0,32}\d)[0-9a-f][0-9a-f-]{7,63}\b                           # an identifier in hexadecimal
    | \d+(?:[.,:/-]\d+)*                                                 # a number, date or time
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ABOUT_THE_CALLER = re.compile(
    r"^([ \t>*-]*(?:(?:current |today's |local )?(?:date|time|datetime|day|timezone|location|locale)"
    r"|(?:user|customer|session|account|tenant|conversation)(?:'s)?"
    r"(?:[ _-]?(?:name|id|email|phone|address|city|country))?)"
    r"[ \t]*[:=]).*$",
    re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(r"<(/?)(context|documents?|history|memory|profile|user_info|env)>")
_SPACE = re.compile(r"\s+")
_LABEL = re.compile(
    r"^[ \t]*(#{1,6} \S.{0,60}|[^\W\d_][\w ]{0,30}:(?=\s|$)|\(?(?:[A-Za-z]|\d{1,2})[.):](?= ))", re.MULTILINE
)
_ENUMERATES = re.compile(r"^\(?(?:[A-Za-z]|\d{1,2})([.):])$")


def fingerprint(call: ChatCall, task: str | None = None) -> str:
    """Return the name of the call's task: the route and a digest of the template; O(prompt).

    It is the same in every process and for any order of tools and of keys in schemas.

    Args:
        call: the request.
        task: the client's name for the task, used instead of the digest.
    """
    if task is not None:
        return f"{call.model}/task:{task}"
    template = msgspec.json.encode(_template(call), order="deterministic")
    digest = blake2b(template, digest_size=DIGEST_BYTES)
    return f"{call.model}/{digest.hexdigest()}"


def _template(call: ChatCall) -> Mapping[str, object]:
    body = call.body
    messages = call.endpoint.messages(body)
    constant = {
        "system": [
            mask_variables(text[:MAX_TEMPLATE_CHARS]) for text in texts(_with_roles(call, messages, _SYSTEM_ROLES))
        ]
        if call.endpoint.has_messages
        else [],
        "tools": sorted(_tools(body)) if call.endpoint.takes_tools else [],
        "format": {name: body[name] for name in format_fields(body)},
    }
    if any(constant.values()):
        return constant
    asked = _with_roles(call, messages, ("user",)) if call.endpoint.has_messages else call
    return {"form": line_labels(next(texts(asked), "")[:MAX_TEMPLATE_CHARS])}


def _with_roles(call: ChatCall, messages: Iterable[Mapping[str, Any]], roles: Container[object]) -> ChatCall:
    return replace(call, body={"messages": [message for message in messages if message.get("role") in roles]})


@lru_cache(maxsize=CACHED_PROMPTS)
def mask_variables(text: str) -> str:
    """Return a system prompt with the parts that vary between calls of one template masked."""
    text = _ABOUT_THE_CALLER.sub(r"\1 _", _empty_tags(text))
    return _SPACE.sub(" ", _VARIABLE.sub("_", text)).strip()


def _empty_tags(text: str) -> str:
    """Return the text without the content of tags that hold data of one call. One pass, also with unclosed tags."""
    kept: list[str] = []
    start, opened = 0, None
    for tag in _TAG.finditer(text):
        if opened is None:
            opened = None if tag[1] else tag
        elif tag[1] and tag[2] == opened[2]:
            kept.append(text[start : opened.end()])
            start, opened = tag.start(), None
    return "".join([*kept, text[start:]])


def line_labels(text: str) -> list[str]:
    """Return the distinct labels that lines begin with. Options and steps (`A.`, `2)`) count as one label."""
    labels = (match[1] for match in _LABEL.finditer(text))
    return list(dict.fromkeys(_ENUMERATES.sub(r"_\1", label) for label in labels))


def _tools(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield each tool's name and argument names. Descriptions are left out because they may contain a date."""
    for tool in (*(body.get("tools") or ()), *(body.get("functions") or ())):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if isinstance(function, Mapping):
            parameters = function.get("parameters")
            named = parameters.get("properties") if isinstance(parameters, Mapping) else None
            arguments = sorted(map(str, named)) if isinstance(named, Mapping) else []
            yield f"{function.get('name')}({', '.join(arguments)})"
