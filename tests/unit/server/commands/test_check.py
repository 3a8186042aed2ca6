from __future__ import annotations

from router.config.models import Config, Model
from router.config.swap import SwapGroup
from server.commands.check import loading_lines


def managed(name: str, **entry: object) -> Model:
    return Model.model_validate({"name": name, "tier": "slm", "engine": "vllm", "source": "owner/model", **entry})


def test_groups_idle_times_and_hours_have_a_line_each() -> None:
    models = [managed("a"), managed("b", idle_minutes=2.5), managed("c", hours="22:00-06:00 UTC"), managed("d")]
    group = SwapGroup(models=("a", "b", "left-out"), keep=2)
    assert list(loading_lines(Config({model.name: model for model in models}, {}, {}, swap={"small": group}))) == [
        "swap.small: 2 of a, b loaded at a time, on demand",
        "b: loaded on demand, unloaded after 2.5 minutes without a request",
        "c: runs 22:00-06:00 UTC",
    ]
