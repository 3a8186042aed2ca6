"""Later turns of an escalated conversation start at the model that it was escalated to. Pure.

There the conversation is in a prefix cache, the ids of its tool calls are known, and the model below has failed. It may
do better later, and an answer of its costs little. So a conversation stays for some turns only, and for twice as many
after each further escalation.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec.structs import replace

from router.decision import Decision, Escalated
from router.policy.base import Situation

REASON = "conversation"
REASONS: Mapping[str, str] = MappingProxyType(
    {REASON: "An earlier turn of the conversation was escalated to this model, so this turn starts there."}
)
"""for `Policy.reasons`"""
TURNS = 8
"""turns that start at the model which a conversation was escalated to, the first time"""
MAX_DOUBLINGS = 6


def stays(escalated: Escalated) -> bool:
    """Return whether the conversation's next turn should start at the model that it was escalated to."""
    return escalated.turns < TURNS << min(escalated.times - 1, MAX_DOUBLINGS)


def start_of(situation: Situation) -> int | None:
    """Return the rung at which the turn should start, or None if the conversation does not stay on a rung."""
    if situation.escalated is None or not stays(situation.escalated):
        return None
    names = ([model.name for model in rung] for rung in situation.rungs)
    return next((at for at, rung in enumerate(names) if situation.escalated.model in rung), None)


def stay(situation: Situation, usual: Decision) -> Decision:
    """Return the decision to start at the model that the conversation was escalated to, if that is higher than usual.

    `usual` is the decision for a call that belongs to no conversation. It starts at a rung and has no order of its own.
    """
    start = start_of(situation)
    if situation.escalated is None or start is None or start <= usual.rung:
        return usual
    first = situation.escalated.model
    others = [model.name for rung in situation.rungs[start:] for model in rung if model.name != first]
    return replace(usual, rung=start, reason=REASON, asking_order=[first, *others])
