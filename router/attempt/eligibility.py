"""May this model take this call at all? What can be known without asking it. Pure."""

from __future__ import annotations

import re
from collections.abc import Set

from router.attempt.failure import Failure
from router.config.models import Model
from router.errors import BadRequest
from router.messages.prompt import texts
from router.money import cost
from router.types import NANO, Ability, ChatCall

SLICE = 64 * 1024  # characters counted at a time: a long text is known to be too long after its beginning
LETTERS = re.compile(r"[^\W_]")  # rows of underscores, as in forms, are few tokens
NOT_TEXT: frozenset[Ability] = frozenset({"image", "audio", "file"})
LETTERS_PER_TOKEN_AT_MOST = 16
"""no real text is that dense: a prompt with more letters than this a token surely does not fit"""


def why_not(model: Model, call: ChatCall, needs: Set[Ability], spent_nano_usd: int = 0) -> Failure | None:
    """Return why the model cannot take the call; None when it may be asked.

    `spent_nano_usd` is what earlier attempts of the same request cost.

    The exact length of a prompt only the model's own tokenizer knows: what is not surely too long is sent, and
    the engine refuses it before any work.
    """
    if missing := sorted(needs - model.abilities):
        return Failure(
            BadRequest(
                f"The model '{model.name}' is not able to serve this request: it lacks {', '.join(missing)}.",
                code="unsupported_by_model",
            ),
            "ability",
            retry=False,
        )
    if model.context is not None and _surely_longer_than(model.context, call):
        return Failure(
            BadRequest(
                f"The model '{model.name}' has a context of {model.context} tokens; this request needs more.",
                param="messages" if call.is_chat else "prompt",
                code="context_length_exceeded",
            ),
            "context",
            retry=False,
        )
    limit_usd = call.routing.max_cost_usd
    return None if limit_usd is None else _too_dear(model, call, needs, round(limit_usd * NANO) - spent_nano_usd)


def _too_dear(model: Model, call: ChatCall, needs: Set[Ability], left_nano_usd: int) -> Failure | None:
    """Compare with the worst case: no text has more tokens than bytes; of an image by its URL nobody knows."""
    answer = model.context if call.max_tokens is None else call.max_tokens
    bounded = answer is not None and not needs & NOT_TEXT
    worst = cost.at_most(call.size, answer * call.generated if answer is not None and bounded else None, model.price)
    if worst is not None and worst <= left_nano_usd:
        return None
    could = "an unknown amount" if worst is None else f"up to {worst / NANO:.6f} USD"
    return Failure(
        BadRequest(
            f"The model '{model.name}' could cost {could} for this request; a smaller `max_tokens` bounds it.",
            param="routing.max_cost_usd",
            code="max_cost_exceeded",
        ),
        "cost",
        retry=False,
    )


def _surely_longer_than(context: int, call: ChatCall) -> bool:
    wanted = call.max_tokens or 0
    if wanted > context:
        return True
    room = (context - wanted) * LETTERS_PER_TOKEN_AT_MOST
    if call.size <= room:
        return False
    for text in texts(call):
        for start in range(0, len(text), SLICE):
            room -= len(LETTERS.findall(text, start, start + SLICE))
            if room < 0:
                return True
    return False
