"""How an answer that broke off goes on, at one model. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from router.attempt.continuation.sent import Sent
from router.config.models import Model
from router.messages.token_limit import TOKEN_LIMITS
from router.types import ChatCall
from router.upstream.base import Dialect
from router.upstream.continuation import Beginning


class Plan(NamedTuple):
    """How one model is asked for the rest of an answer."""

    changes: Mapping[str, Any] = {}
    """the changed fields of the call; None removes a field"""
    kept_tokens: int = 0
    """tokens that were sent, and are not generated again"""
    repeated: str = ""
    """what the engine says again before it goes on"""
    again: str = ""
    """the end of what was sent, which is generated again: whitespace, which may differ"""
    is_replay: bool = False
    """everything that was sent is generated again, and must be the same"""
    essential: frozenset[str] = frozenset()
    """the fields without which the model would begin a new answer instead of going on"""


MAX_REPEATED_TOKENS = 512
"""of a free text: the client waits while they are generated again"""


def plan(
    call: ChatCall, sent: Sent, model: Model, dialect: Dialect, *, is_free: bool, is_same: bool, may_repeat: bool = True
) -> Plan | None:
    """Return how the model goes on; None: it cannot.

    1. Only thoughts or whitespace were sent: it answers from the start, and its thoughts are left out.
    2. The answer has a format, or calls: it answers from the start, and must repeat what was sent. Decoding that
       enforces a format cannot begin in the middle of it. Another model would not repeat it.
    3. Free text at temperature 0 is repeated, too, unless it is long: the answer is then the undisturbed one, to the
       letter. Tokens that a model generated may be others than those of the same text in a prompt.
    4. Free text is the beginning of the answer for a model that can go on from one.
    5. Other free text is repeated if the client asked for the same answer each time.

    Args:
        call: as this model is asked, from the start.
        sent: what the client has of the answer.
        model: the model to ask.
        dialect: its dialect.
        is_free: any text will do.
        is_same: the answer that broke off is this model's.
        may_repeat: no other try to repeat the text has failed.
    """
    if sent.has_other:
        return None
    if not sent.has_answer:  # 1
        return Plan(again=sent.content)
    if not is_free:  # 2
        return Plan(is_replay=True) if is_same else None
    if sent.calls or sent.function_call:
        return None
    may_repeat = may_repeat and is_same
    if may_repeat and call.body.get("temperature") == 0 and sent.tokens <= MAX_REPEATED_TOKENS:  # 3
        return Plan(is_replay=True)
    if going_on := _from_beginning(call, sent, model, dialect):  # 4
        return going_on
    return Plan(is_replay=True) if may_repeat and _is_repeatable(call) else None  # 5


def _from_beginning(call: ChatCall, sent: Sent, model: Model, dialect: Dialect) -> Plan | None:
    """Whitespace at the end is asked for again: many chat templates would remove it.

    Whitespace that belongs to the last token stays where the engine goes on from the raw text.
    """
    is_raw = dialect.continues_messages or not call.endpoint.has_messages
    text = sent.content[: len(sent.content) - len(sent.blank_tail)] if is_raw else sent.content.rstrip()
    fields = dialect.continuation(call, model, Beginning(text, sent.thoughts))
    if fields is None:
        return None
    repeated = text if dialect.repeats_messages and call.endpoint.has_messages else ""
    essential = frozenset(fields) - {call.endpoint.prompt_field, "echo"}
    going_on = Plan(fields, 0, repeated, sent.content[len(text) :], essential=essential)
    return with_kept_tokens(going_on, call, sent.tokens - sent.blank_tokens)


def with_kept_tokens(going_on: Plan, call: ChatCall, tokens: int) -> Plan:
    """Return the plan for so many tokens that are not generated again: the limits get smaller by them."""
    limits: dict[str, Any] = {
        name: max(1, limit - tokens) for name in TOKEN_LIMITS if isinstance(limit := call.body.get(name), int)
    }
    if isinstance(least := call.body.get("min_tokens"), int):
        limits["min_tokens"] = least - tokens if least > tokens else None
    return going_on._replace(changes={**going_on.changes, **limits}, kept_tokens=tokens)


def _is_repeatable(call: ChatCall) -> bool:
    return call.body.get("temperature") == 0 or call.body.get("seed") is not None
