"""Which task is this? Agents' calls are templates: what repeats names the task, and evidence is kept for each. Pure.

What repeats is the system prompt without its variable parts (dates, numbers, identifiers, who is asking), the tools,
the form of the answer, and the route. A call without any of these has the form of its prompt: the labels that its
lines begin with (`Question:`, `A.`, `## Input`).

Two calls of one template that get two names share what the whole route knows, which costs evidence; two templates
under one name would be judged by each other's evidence. So, only what surely varies is masked.
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
REMEMBERED, MOST_CHARS = 256, 32_768
"""agents repeat their system prompts: so many are masked once; of a longer text, only the beginning names the task"""

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
    """Return the name of the call's task: the route, and what tells its tasks apart; O(prompt).

    The same in every process and for any order of tools and of keys in schemas.

    Args:
        call: the request.
        task: the client's own name for it; it is believed.
    """
    if task is not None:
        return f"{call.model}/task:{task}"
    template = msgspec.json.encode(_template(call), order="deterministic")
    digest = blake2b(template, digest_size=DIGEST_BYTES)
    return f"{call.model}/{digest.hexdigest()}"


def _template(call: ChatCall) -> Mapping[str, object]:
    body = call.body
    messages = call.endpoint.messages(body)
    repeated = {
        "system": [masked(text[:MOST_CHARS]) for text in texts(_only(call, messages, _SYSTEM_ROLES))]
        if call.endpoint.has_messages
        else [],
        "tools": sorted(_tools(body)) if call.endpoint.takes_tools else [],
        "format": {name: body[name] for name in format_fields(body)},
    }
    if any(repeated.values()):
        return repeated
    asked = _only(call, messages, ("user",)) if call.endpoint.has_messages else call
    return {"form": form(next(texts(asked), "")[:MOST_CHARS])}


def _only(call: ChatCall, messages: Iterable[Mapping[str, Any]], roles: Container[object]) -> ChatCall:
    return replace(call, body={"messages": [message for message in messages if message.get("role") in roles]})


@lru_cache(maxsize=REMEMBERED)
def masked(text: str) -> str:
    """Return a system prompt without what varies from call to call of one template."""
    text = _ABOUT_THE_CALLER.sub(r"\1 _", _emptied(text))
    return _SPACE.sub(" ", _VARIABLE.sub("_", text)).strip()


def _emptied(text: str) -> str:
    """Return the text without what is put between tags for each call. One pass, however many are left open."""
    kept: list[str] = []
    start, opened = 0, None
    for tag in _TAG.finditer(text):
        if opened is None:
            opened = None if tag[1] else tag
        elif tag[1] and tag[2] == opened[2]:
            kept.append(text[start : opened.end()])
            start, opened = tag.start(), None
    return "".join([*kept, text[start:]])


def form(text: str) -> list[str]:
    """Return the labels that the lines begin with, each once; options and steps (`A.`, `2)`) count as one label."""
    labels = (match[1] for match in _LABEL.finditer(text))
    return list(dict.fromkeys(_ENUMERATES.sub(r"_\1", label) for label in labels))


def _tools(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield each tool's name and the names of its arguments; descriptions may hold the date."""
    for tool in (*(body.get("tools") or ()), *(body.get("functions") or ())):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if isinstance(function, Mapping):
            parameters = function.get("parameters")
            named = parameters.get("properties") if isinstance(parameters, Mapping) else None
            arguments = sorted(map(str, named)) if isinstance(named, Mapping) else []
            yield f"{function.get('name')}({', '.join(arguments)})"
