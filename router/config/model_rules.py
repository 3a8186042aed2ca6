"""The rules that involve several keys of a model in models.yaml. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.config.models import Model


def check_keys_together(model: Model) -> None:
    """Check the keys of a model against each other.

    Raises:
        ValueError: two of them contradict each other, or one misses another.
    """
    if model.managed == bool(model.base_url):
        raise ValueError(
            "expected exactly one of `source` (smallfirst starts the engine) and `base_url` (the server already runs)"
        )
    if len(set(model.base_url)) < len(model.base_url):
        raise ValueError("`base_url` contains the same URL twice; each URL is one replica")
    given = model.model_fields_set
    if not model.managed:
        only_managed = {"adapters", "replicas", "gpus", "vllm_args", "transformers_args", "idle_minutes"}
        for key in sorted(only_managed & given):
            raise ValueError(f"`{key}` is only for models with `source`, not for models with `base_url`")
    if model.managed:
        for key in sorted({"api_key", "api_key_header", "headers", "upstream_model", "required"} & given):
            raise ValueError(f"`{key}` is only for models with `base_url`, not for models with `source`")
    if (hours := model.timetable) is not None and hours.shortest_s <= model.timeouts.drain_s:
        raise ValueError(
            f"`timeouts.drain_s` begins before the end of `hours`, so it must be less than the shortest of them,"
            f" {hours.shortest_s:.0f} s; it is {model.timeouts.drain_s:g} s"
        )
    if model.api_key_header is not None and "api_key" not in given:
        raise ValueError("`api_key_header` needs an `api_key`, but there is none")
    names = [name.lower() for name in model.headers]
    if model.api_key is not None:
        names.append((model.api_key_header or "Authorization").lower())
    if len(set(names)) < len(names):
        raise ValueError("`headers` and `api_key` name the same header twice")
    if model.required and model.api_key is None:
        raise ValueError("`required: true` needs an `api_key`, but there is none")
    if model.required and model.requires is not None:
        raise ValueError(
            "`required: true` and `requires` contradict each other: "
            "one refuses to start, the other leaves the model out"
        )
