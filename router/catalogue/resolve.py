"""Fills a model of models.yaml from the catalogue. Pure: it returns a new mapping, before anything is validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.catalogue.bundled import TEMPLATES, find
from router.catalogue.entry import CatalogueEntry
from router.catalogue.memory import default_context

PREFIX = "catalogue:"
"""`source: catalogue:NAME` means `catalogue: NAME` with the weights from the hub"""


def catalogue_key(model: Mapping[str, Any]) -> str | None:
    """Return the key by which a model of models.yaml names an entry of the catalogue, or None."""
    if "catalogue" in model:
        return "catalogue"
    source = model.get("source")
    return "source" if isinstance(source, str) and source.startswith(PREFIX) else None


def fill(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model with what its entry of the catalogue says. What the model says itself stays.

    `vllm_args` are merged key by key; `null` there leaves a key of the catalogue out.

    Raises:
        ValueError: there is no such entry, or the model has no use for one.
    """
    written = dict(model)
    if catalogue_key(model) == "source":
        written["catalogue"] = written.pop("source").removeprefix(PREFIX)
    elif str(model.get("source")).startswith(PREFIX):
        raise ValueError(f"expected only one of `catalogue` and `source: {PREFIX}..`")
    name = written["catalogue"]
    if not isinstance(name, str):
        raise ValueError("expected a name, as `smallfirst models` lists them")
    if "base_url" in model:
        raise ValueError("the catalogue is for models that smallfirst starts, but this one has a `base_url`")
    defaults = settings(find(name), written.get("engine"))
    args = written.get("vllm_args")
    if isinstance(args, Mapping):
        merged = {**defaults.get("vllm_args", {}), **args}
        written["vllm_args"] = {key: value for key, value in merged.items() if value is not None}
    return defaults | written


def settings(entry: CatalogueEntry, engine: object = None) -> dict[str, Any]:
    """Return what an entry fills in, for its own engine or another one."""
    found: dict[str, Any] = {
        "tier": "slm",
        "engine": entry.engine if engine is None else engine,
        "source": entry.hub_id,
        "context": default_context(entry),
    }
    if found["engine"] == "vllm":
        found["vllm_args"] = vllm_args(entry)
        if not entry.calls_tools:
            found["abilities"] = ["completions", "logprobs", "structured"]
    return found


def vllm_args(entry: CatalogueEntry) -> dict[str, Any]:
    """Return the options for vLLM: parsers, chat template and sampling included."""
    args: dict[str, Any] = {}
    if entry.tool_parser:
        args |= {"enable_auto_tool_choice": True, "tool_call_parser": entry.tool_parser}
    if entry.reasoning_parser:
        args["reasoning_parser"] = entry.reasoning_parser
    if entry.chat_template:
        args["chat_template"] = str(TEMPLATES / entry.chat_template)
    if entry.sampling:
        args["override_generation_config"] = dict(entry.sampling)
    return args | entry.vllm_args
