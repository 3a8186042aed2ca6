"""Estimate the difficulty of a request from the request alone.

The length of the prompt has the largest weight: on RouteLLM's data it alone reaches an APGR of .586 (MMLU) and .598
(GSM8K). Random routing has .5 and the paper's best router .603 and .622 (arXiv 2406.18665, Tables 1 and 3). The other
signs are known weaknesses of small models: long answers, many tools, deep schemas, and requested reasoning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from router.config.models import Route
from router.decision import Decision
from router.messages.prompt import rough_tokens
from router.policy import register
from router.policy.base import Policy, PolicyOptions, Situation
from router.policy.stay import REASONS, stay
from router.types import ChatCall

EASY_TOKENS, HARD_TOKENS = 64, 8192
EASY_ANSWER, HARD_ANSWER = 512, 8192
MANY_TOOLS = 16
DEEP_SCHEMA = 8
LONG_CONVERSATION = 20
REASONING = {"medium": 0.5, "high": 1.0, "xhigh": 1.0}

WEIGHTS = {
    "long prompt": 1.0,
    "reasoning asked for": 0.6,
    "many tools": 0.5,
    "deep schema": 0.4,
    "long answer": 0.3,
    "long conversation": 0.3,
}


class HeuristicOptions(PolicyOptions):
    """Keys of a route with `policy: heuristic`."""

    threshold: float = Field(0.5, ge=0, le=1, description="Calls with a lower difficulty start at the first rung.")


@register
class Heuristic(Policy):
    """Start at the rung that the call's difficulty score selects.

    Calls with a score below `threshold` (0..1) start at the first rung. The rest of the scale is divided evenly among
    the rungs above.
    """

    name = "heuristic"
    Options = HeuristicOptions
    reasons: ClassVar = {
        "heuristic": "The call looks easy, so it starts at the first rung.",
        **{f"heuristic: {sign}": f"The call looks hard. The strongest sign: {sign}." for sign in WEIGHTS},
        **REASONS,
    }

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    @classmethod
    def build(cls, route: Route) -> Heuristic:
        """Return the policy with the route's threshold."""
        return cls(HeuristicOptions.of(route).threshold)

    def decide(self, situation: Situation) -> Decision:
        """Return the rung, the score in 0..1 and the sign with the largest part of the score.

        A conversation never starts below the rung where it stays.
        """
        return stay(situation, self._decide(situation))

    def _decide(self, situation: Situation) -> Decision:
        last = len(situation.rungs) - 1
        signs = difficulty(situation.call)
        score = min(1.0, sum(signs.values()))
        if score < self.threshold or not last:
            return Decision(rung=0, reason="heuristic", score=score)
        above = (score - self.threshold) / (1 - self.threshold) if self.threshold < 1 else 1.0
        rung = min(last, 1 + int(above * last))
        return Decision(rung=rung, reason=f"heuristic: {max(signs, key=signs.__getitem__)}", score=score)


def difficulty(call: ChatCall) -> dict[str, float]:
    """Return the weighted part of each sign. The score is their sum, at most 1."""
    body = call.body if call.endpoint.has_messages else {}
    turns = len(call.endpoint.messages(call.body))
    values = {
        "long prompt": _on_log_scale(rough_tokens(call), EASY_TOKENS, HARD_TOKENS),
        "reasoning asked for": REASONING.get(str(body.get("reasoning_effort")), 0.0),
        "many tools": min(1.0, len(body.get("tools") or ()) / MANY_TOOLS),
        "deep schema": min(1.0, _depth(_schema(body)) / DEEP_SCHEMA),
        "long answer": _on_log_scale(call.max_tokens or 0, EASY_ANSWER, HARD_ANSWER),
        "long conversation": min(1.0, max(0, turns - 1) / LONG_CONVERSATION),
    }
    return {sign: WEIGHTS[sign] * value for sign, value in values.items()}


def _on_log_scale(value: float, easy: float, hard: float) -> float:
    if value <= easy:
        return 0.0
    return min(1.0, math.log(value / easy) / math.log(hard / easy))


def _schema(body: Mapping[str, Any]) -> object:
    response_format = body.get("response_format")
    wrapper = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    return wrapper.get("schema") if isinstance(wrapper, Mapping) else None


def _depth(schema: object, limit: int = 4 * DEEP_SCHEMA) -> int:
    if not limit or not isinstance(schema, Mapping | list) or not schema:
        return 0
    below = schema.values() if isinstance(schema, Mapping) else schema
    return (not isinstance(schema, list)) + max(_depth(value, limit - 1) for value in below)
