from __future__ import annotations

from typing import Any

import pytest

from router.config.models import Config, Route
from router.types import LoadPhase, LoadReport, ModelStatus
from server.endpoints.health import readiness
from tests.support.fakes import large, model

SLM, LLM, SIDE = model("slm"), large("llm"), model("side")
CONFIG = Config(
    {"slm": SLM, "llm": LLM, "side": SIDE}, {"auto": Route("auto", ((SLM,), (LLM,)), LLM)}, {"gpu": "no GPU"}
)


def statuses(**up: int) -> list[ModelStatus]:
    return [ModelStatus(name, 2, count, 0, 1, "" if count == 2 else f"{name} is down") for name, count in up.items()]


@pytest.mark.parametrize(
    ("up", "state"),
    [
        ({"slm": 2, "llm": 2, "side": 2}, "ready"),
        ({"slm": 1, "llm": 2, "side": 2}, "degraded"),
        ({"slm": 0, "llm": 2, "side": 2}, "degraded"),
        ({"slm": 2, "llm": 0, "side": 2}, "degraded"),
        ({"slm": 2, "llm": 2, "side": 0}, "degraded"),
        ({"slm": 0, "llm": 1, "side": 0}, "degraded"),
        ({"slm": 0, "llm": 0, "side": 2}, "unavailable"),  # no route can answer
        ({"slm": 0, "llm": 0, "side": 0}, "unavailable"),
    ],
)
def test_state(up: dict[str, int], state: str) -> None:
    got, body = readiness(CONFIG, statuses(**up))
    assert got == body["status"] == state


@pytest.mark.parametrize(("up", "state"), [({"slm": 1, "llm": 0}, "degraded"), ({"slm": 0, "llm": 0}, "unavailable")])
def test_without_routes_any_model_will_do(up: dict[str, int], state: str) -> None:
    config = Config({"slm": SLM, "llm": LLM}, {}, {})
    assert readiness(config, statuses(**up))[0] == state


def test_body() -> None:
    body: dict[str, Any] = readiness(CONFIG, statuses(slm=1, llm=2, side=2))[1]
    assert body == {
        "status": "degraded",
        "models": {
            "slm": {"replicas": 2, "up": 1, "restarts": 1, "detail": "slm is down"},
            "llm": {"replicas": 2, "up": 2, "restarts": 1},
            "side": {"replicas": 2, "up": 2, "restarts": 1},
        },
        "left_out": ["gpu"],
    }


def not_always_loaded(phase: LoadPhase, up: int, *, may_wait: bool) -> ModelStatus:
    return ModelStatus("slm", 1, up, 0, 0, "not loaded", load=LoadReport(phase, may_wait, 3, 0, {}))


@pytest.mark.parametrize(
    ("phase", "up", "may_wait", "large_up", "state"),
    [
        ("unloaded", 0, True, 2, "ready"),
        ("unloaded", 0, True, 0, "degraded"),  # the large one is down, and the small one can be loaded
        ("unloaded", 0, False, 0, "unavailable"),  # outside its hours, or it cannot be loaded
        ("unloaded", 0, False, 2, "ready"),
        ("loading", 0, True, 2, "ready"),
        ("draining", 0, True, 2, "ready"),
        ("loaded", 1, True, 2, "ready"),
        ("loaded", 0, True, 2, "degraded"),  # it should be up
    ],
)
def test_a_model_that_is_unloaded_on_purpose_is_not_missed(
    phase: LoadPhase, up: int, may_wait: bool, large_up: int, state: str
) -> None:
    small = not_always_loaded(phase, up, may_wait=may_wait)
    got, body = readiness(CONFIG, [small, *statuses(llm=large_up, side=2)])
    assert got == state
    assert (body["models"]["slm"]["load"], body["models"]["slm"]["waiting"]) == (phase, 3)
    assert "load" not in body["models"]["llm"]
