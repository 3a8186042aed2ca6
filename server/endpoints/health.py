"""GET /health and /ready: whether the process is alive, and whether it can answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from router.config.models import Config, Model
from router.types import ModelStatus
from router.upstream.dialects import DIALECTS

Readiness = Literal["ready", "degraded", "unavailable"]


def readiness(config: Config, statuses: Sequence[ModelStatus]) -> tuple[Readiness, dict[str, Any]]:
    """Return the state and the body of /ready. Pure.

    ready: every replica is up that should be. degraded: some are down, but at least one route can answer. unavailable:
    no route can answer. Without routes, each model counts as one. A model that is loaded on demand can answer.
    """
    can_answer = {status.model: status.can_answer for status in statuses}
    served = [[model.name for model in route.ladder] for route in config.routes.values()]
    served = served or [[name] for name in config.models]
    state: Readiness = "unavailable"
    if any(any(can_answer[name] for name in ladder) for ladder in served):
        state = "ready" if all(status.up >= status.expected for status in statuses) else "degraded"
    models = {
        status.model: {
            "replicas": status.replicas,
            "up": status.up,
            "restarts": status.restarts,
            **({"load": status.load.phase, "waiting": status.load.waiting} if status.load else {}),
            **({"detail": status.detail} if status.detail else {}),
            **({"learned": list(status.learned)} if status.learned else {}),
            **({"misconfigured": list(status.misconfigured)} if status.misconfigured else {}),
            **({"limits": list(limits)} if (limits := _limits(config.models[status.model])) else {}),
        }
        for status in statuses
    }
    return state, {"status": state, "models": models, "left_out": sorted(config.left_out)}


def _limits(model: Model) -> tuple[str, ...]:
    return DIALECTS[model.engine].limits(model)
