"""May this model take this call at all? Decided by what is known without asking it. Pure."""

from __future__ import annotations

import re
from collections.abc import Set

import msgspec

from router.config.models import Model
from router.errors import NotEligible
from router.messages.prompt import texts
from router.messages.service_tier import service_tier_of
from router.money import cost
from router.money.image_tokens import bounded_prompt
from router.types import NANO, Ability, ChatCall
from router.upstream.base import Dialect

SLICE = 64 * 1024  # characters counted at a time: a long text is known to be too long after its beginning
LETTERS = re.compile(r"[^\W_]")  # rows of underscores, as in forms, are few tokens
UNBOUNDED: frozenset[Ability] = frozenset({"audio", "file"})
"""parts of messages whose tokens have no bound"""
LETTERS_PER_TOKEN_AT_MOST = 16
"""no real text is that dense: a prompt with more letters than this a token surely does not fit"""
BYTES_PER_TOKEN_AT_LEAST = 3
"""a low estimate for prose and code in any script"""


def check(model: Model, dialect: Dialect, call: ChatCall, needs: Set[Ability], spent_nano_usd: int = 0) -> None:
    """Check that the model may be asked; `spent_nano_usd`: the cost of the request's earlier attempts.

    Only the model's own tokenizer knows the exact length of a prompt. A prompt that may fit is sent, and the engine
    refuses it before any work if it does not. To an engine that does not refuse, only a prompt that should fit is sent.

    Raises:
        NotEligible: the model lacks an ability, the prompt does not fit, or the call could cost too much.
    """
    if missing := sorted(needs - model.abilities):
        raise NotEligible(
            f"The model '{model.name}' cannot serve this request: it lacks {', '.join(missing)}.",
            reason="ability",
            code="unsupported_by_model",
        )
    if dialect.has_one_choice and call.choices > 1:
        raise NotEligible(
            f"The model '{model.name}' gives one answer; this request asks for {call.choices}.",
            reason="ability",
            param="n",
            code="unsupported_by_model",
        )
    is_longer = _surely_longer_than if dialect.refuses_long_prompts else _probably_longer_than
    if model.context is not None and is_longer(model.context, call):
        raise NotEligible(
            f"The model '{model.name}' has a context of {model.context} tokens; this request needs more.",
            reason="context",
            param=_what_is_too_long(model.context, call),
            code="context_length_exceeded",
        )
    if call.routing.max_cost_usd is not None:
        _check_cost(model, call, needs, round(call.routing.max_cost_usd * NANO) - spent_nano_usd)


def _what_is_too_long(context: int, call: ChatCall) -> str:
    if (call.max_tokens or 0) <= context:
        return call.endpoint.prompt_field
    return "max_tokens" if call.body.get("max_completion_tokens") is None else "max_completion_tokens"


def _check_cost(model: Model, call: ChatCall, needs: Set[Ability], left_nano_usd: int) -> None:
    """Compare with the worst case: no text has more tokens than bytes, and an image has a bound by its size."""
    answer = model.context if call.max_tokens is None else call.max_tokens
    prompt, tier = call.size, service_tier_of(call.body)
    if "image" in needs:
        prompt = bounded_prompt(call, model.price.image_tokens if model.price else None)
    tokens = None if answer is None or needs & UNBOUNDED else answer * call.generated
    worst = cost.max_cost(prompt, tokens, model.price, tier)
    if worst is not None and worst <= left_nano_usd:
        return
    could = "an unknown amount" if worst is None else f"up to {worst / NANO:.6f} USD"
    if model.price is None:
        advice = "it has no price in models.yaml"
    elif unbounded := sorted(needs & UNBOUNDED):
        advice = f"{' and '.join(unbounded)} parts can be of any length"
    elif worst is not None and (cost.max_cost(prompt, 0, model.price, tier) or 0) > left_nano_usd:
        advice = "the prompt alone could cost more than is left"
    elif worst is None and tokens is not None:
        advice = "its service tier has no price in models.yaml"
    else:
        advice = "a smaller `max_tokens` limits it"
    raise NotEligible(
        f"The model '{model.name}' could cost {could} for this request; {advice}.",
        reason="cost",
        param="routing.max_cost_usd",
        code="max_cost_exceeded",
    )


def _probably_longer_than(context: int, call: ChatCall) -> bool:
    tools = len(msgspec.json.encode(call.fields["tools"])) if "tools" in call.fields else 0
    prompt = sum(len(text.encode(errors="replace")) for text in texts(call)) + tools
    return prompt / BYTES_PER_TOKEN_AT_LEAST + (call.max_tokens or 0) > context


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
