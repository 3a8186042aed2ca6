"""May this model take this call at all? What can be known without asking it. Pure."""

from __future__ import annotations

import re
from collections.abc import Set

from router import cost
from router.config import Model
from router.errors import BadRequest
from router.prompt import rough_tokens, texts
from router.retry import Failure
from router.types import Ability, ChatCall

LETTERS = re.compile(r"[^\W_]")  # rows of underscores, as in forms, are few tokens
LETTERS_PER_TOKEN_AT_MOST = 16
"""no real text is that dense: a prompt with more letters than this a token surely does not fit"""


def why_not(model: Model, call: ChatCall, needs: Set[Ability]) -> Failure | None:
    """Return why the model cannot take the call; None when it may be asked.

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
                param="messages" if call.endpoint == "chat/completions" else "prompt",
                code="context_length_exceeded",
            ),
            "context",
            retry=False,
        )
    limit = call.routing.max_cost_usd
    if limit is not None:
        estimate = cost.at_most(rough_tokens(call), (call.max_tokens or 0) * call.choices, model.price)
        if estimate > limit * cost.NANO:
            return Failure(
                BadRequest(
                    f"The model '{model.name}' could cost {estimate / cost.NANO:.6f} USD for this request.",
                    param="routing.max_cost_usd",
                    code="max_cost_exceeded",
                ),
                "cost",
                retry=False,
            )
    return None


def _surely_longer_than(context: int, call: ChatCall) -> bool:
    wanted = call.max_tokens or 0
    if wanted > context:
        return True
    room = (context - wanted) * LETTERS_PER_TOKEN_AT_MOST
    if call.size <= room:
        return False
    return sum(len(LETTERS.findall(text)) for text in texts(call)) > room
