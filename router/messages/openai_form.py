"""Brings an upstream's answer into OpenAI's form. Pure.

| of the upstream | to the client |
|---|---|
| `reasoning`, `reasoning_content`, `thinking`, or parts of the content with thoughts | `reasoning_content` |
| `tool_calls: []`, `function_call: null`, `audio: null`, ... beside a text | left out |
| a message without `role`, `content` or `refusal` | `assistant`, null, null |
| `finish_reason: stop` beside calls | `tool_calls`, or `function_call` |
| another `finish_reason` than OpenAI's five | the one that means the same (see `finish_reason`) |

Everything else stays as it is, unknown fields included. An answer that has the form already is not touched, so its
bytes can be forwarded.
"""

from __future__ import annotations

from typing import Any

from router.messages.choice import has_tool_call
from router.messages.finish_reason import FINISH_REASONS, reason_of_choice

PLAIN_DELTA = frozenset({"role", "content"})
"""the keys of most deltas; such a delta needs no change unless its content is no text"""
REASONING = "reasoning_content"
"""the name of the thoughts for clients: DeepSeek's, which most client libraries read"""
REASONING_NAMES = ("reasoning_content", "reasoning", "thinking")
"""the names that upstreams give the thoughts of a message or a delta"""
PLAIN_MESSAGE = frozenset({"role", "content", "refusal"})
"""the keys of a message that is in form unless its content is no text"""
_VLLMS_EMPTY_FIELDS = b',"annotations":null,"audio":null,"function_call":null,"reasoning":null}'
_OLDER_VLLMS_EMPTY_FIELDS = b',"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning":null}'
_LEFT_OUT_IF_EMPTY = ("tool_calls", "function_call", "audio", *REASONING_NAMES)


def without_vllms_empty_fields(body: bytes) -> bytes:
    """Return a whole answer without the empty fields with which vLLM ends the message of each text.

    It saves the decoding of these fields, and that the answer has to be written again. In JSON, the bytes can be
    nothing else: within a text, a quotation mark has a backslash before it.
    """
    return body.replace(_VLLMS_EMPTY_FIELDS, b"}").replace(_OLDER_VLLMS_EMPTY_FIELDS, b"}")


def put_in_form(answer: dict[str, Any]) -> bool:
    """Bring a decoded whole answer into OpenAI's form, in place; return whether it was changed.

    Raises:
        UpstreamFailed: the upstream gave up the answer.
    """
    changed = False
    for choice in answer["choices"]:
        reason = choice["finish_reason"]
        if not (isinstance(reason, str) and reason in FINISH_REASONS):
            choice["finish_reason"] = reason_of_choice(choice)
            changed = True
        message = choice.get("message")
        if isinstance(message, dict) and (message.keys() != PLAIN_MESSAGE or isinstance(message["content"], list)):
            changed |= put_message_in_form(message)
            if reason == "stop" and has_tool_call(message):
                choice["finish_reason"] = reason_of_choice(choice)
                changed = True
            for name, value in (("role", "assistant"), ("content", None), ("refusal", None)):
                if name not in message:
                    message[name] = value
                    changed = True
    return changed


def put_message_in_form(message: dict[str, Any]) -> bool:
    """Bring a message, or a delta of one, into OpenAI's form, in place; return whether it was changed."""
    changed = False
    if isinstance(message.get("content"), list):
        _flatten(message)
        changed = True
    for name in _LEFT_OUT_IF_EMPTY:
        if name in message and not message[name]:
            del message[name]
            changed = True
    if "annotations" in message and message["annotations"] is None:
        del message["annotations"]
        changed = True
    for name in REASONING_NAMES[1:]:
        if isinstance(message.get(name), str):
            message.setdefault(REASONING, message[name])
            del message[name]
            changed = True
    return changed


def _flatten(message: dict[str, Any]) -> None:
    """Replace a content of parts by its text, and its thoughts by a field, as Mistral's models have both."""
    texts: dict[str, list[str]] = {"text": [], "thinking": []}
    for part in message["content"]:
        if isinstance(part, dict) and part.get("type") in texts:
            texts[part["type"]].append(_text_of(part.get(part["type"])))
    message["content"] = "".join(texts["text"])
    if texts["thinking"]:
        message.setdefault(REASONING, "".join(texts["thinking"]))


def _text_of(value: object) -> str:
    if isinstance(value, list):
        return "".join(_text_of(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""
