"""Forms that some upstreams want messages to have. Pure."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from router.profile.fields import plain
from router.upstream.request_fields import as_system

Message = Mapping[str, Any]
_ALPHANUMERIC = string.ascii_letters + string.digits
_OF_IDS = frozenset(_ALPHANUMERIC + "_-")
"""what Anthropic's API takes in ids; Kimi's models write others, such as `functions.weather:0`"""
_JSON = {"role": "system", "content": "Answer in JSON."}
MAX_CALL_ID_CHARS, SHORT_CALL_ID_CHARS = 40, 9
"""OpenAI's limit; Mistral's length, of letters and digits"""


def apply(wants: AbstractSet[str], fields: dict[str, Any]) -> Iterator[str]:
    """Give the messages the forms that are wanted, and yield what was changed."""
    for want, change in FORMS.items():
        if want in wants and (messages := plain(fields, "messages")):
            if want == "json_word" and not _asks_for_json(fields):
                continue
            changed = change(messages)
            if changed != messages:
                fields["messages"] = changed
                yield f"messages={want}"


def alternating_roles(messages: Sequence[Message]) -> list[Message]:
    """Merge neighbours that have the same role."""
    merged: list[Message] = []
    for message in messages:
        before = merged[-1] if merged else {}
        if message["role"] == before.get("role") and message["role"] in ("user", "assistant", "system"):
            merged[-1] = _joined(before, message)
        else:
            merged.append(message)
    return merged


def no_system(messages: Sequence[Message]) -> list[Message]:
    """Put the text of each system message in front of the next user message."""
    waiting: Message | None = None
    moved: list[Message] = []
    for message in messages:
        if message["role"] in ("system", "developer"):
            waiting = message if waiting is None else _joined(waiting, message)
        elif waiting is not None and message["role"] == "user":
            moved.append(_joined({**waiting, "role": "user"}, message))
            waiting = None
        else:
            moved.append(message)
    return moved if waiting is None else [*moved, {**waiting, "role": "user"}]


def no_developer(messages: Sequence[Message]) -> list[Message]:
    """Make messages of developers messages of the system."""
    return [as_system(message) for message in messages]


def system_first(messages: Sequence[Message]) -> list[Message]:
    """Merge all system messages into the first message."""
    whole: Message | None = None
    for message in messages:
        if message["role"] in ("system", "developer"):
            whole = message if whole is None else _joined(whole, message)
    others = [message for message in messages if message["role"] not in ("system", "developer")]
    return others if whole is None else [{**whole, "role": "system"}, *others]


def text_content(messages: Sequence[Message]) -> list[Message]:
    """Write lists of text parts as one text, and a missing content as an empty one."""
    return [{**message, "content": _as_text(message.get("content"))} for message in messages]


def call_ids(length: int, *, exact: bool) -> Callable[[Sequence[Message]], list[Message]]:
    """Return the form in which ids of calls have at most, or exactly, `length` characters.

    These are letters and digits, and `_` and `-` where the length is not exact. A call's id and the result's
    `tool_call_id` are mapped alike. Ids that fit stay.
    """

    characters = frozenset(_ALPHANUMERIC) if exact else _OF_IDS

    def short(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        fits = len(value) == length if exact else len(value) <= length
        if fits and characters.issuperset(value):
            return value
        digest = hashlib.sha512(value.encode(errors="replace")).digest()
        return "".join(_ALPHANUMERIC[byte % len(_ALPHANUMERIC)] for byte in digest[:length])

    def form(messages: Sequence[Message]) -> list[Message]:
        changed: list[Message] = []
        for message in messages:
            new = dict(message)
            if "tool_call_id" in message:
                new["tool_call_id"] = short(message["tool_call_id"])
            if calls := message.get("tool_calls"):
                new["tool_calls"] = [{**call, "id": short(call.get("id"))} for call in calls]
            changed.append(new)
        return changed

    return form


def json_word(messages: Sequence[Message]) -> list[Message]:
    """Name JSON in a message, unless one does."""
    if any("json" in str(message.get("content")).lower() for message in messages):
        return list(messages)
    return [_JSON, *messages]


FORMS: Mapping[str, Callable[[Sequence[Message]], list[Message]]] = {
    "json_word": json_word,
    "no_developer": no_developer,
    "no_system": no_system,
    "system_first": system_first,
    "alternating_roles": alternating_roles,
    "text_content": text_content,
    "call_ids_40": call_ids(MAX_CALL_ID_CHARS, exact=False),
    "call_ids_9": call_ids(SHORT_CALL_ID_CHARS, exact=True),
}
"""by the name of the `Want`, in the order in which they are applied"""


def _asks_for_json(fields: dict[str, Any]) -> bool:
    wanted = plain(fields, "response_format")
    return isinstance(wanted, dict) and wanted.get("type") == "json_object"


def _joined(first: Message, second: Message) -> Message:
    one, two = first.get("content"), second.get("content")
    if isinstance(one, list) or isinstance(two, list):
        content: Any = [*_parts(one), *_parts(two)]
    else:
        content = "\n\n".join(filter(None, (one, two))) or one
    joined = {**first, **second, "content": content}
    if calls := [*(first.get("tool_calls") or ()), *(second.get("tool_calls") or ())]:
        joined["tool_calls"] = calls
    return joined


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []


def _as_text(content: Any) -> Any:
    if content is None:
        return ""
    if not isinstance(content, list) or any(part.get("type") != "text" for part in content):
        return content
    return "\n".join(str(part.get("text") or "") for part in content)
