"""What the catalogue knows of the models of models.yaml."""

from __future__ import annotations

from collections.abc import Iterable

from router.catalogue.bundled import by_hub_id, catalogue
from router.catalogue.entry import CatalogueEntry
from router.config.models import Model


def entry_of(model: Model) -> CatalogueEntry | None:
    """Return the entry that a model names, or the one with the same weights on the hub, or None."""
    if model.catalogue is not None:
        return catalogue().get(model.catalogue)
    return by_hub_id(model.source) if model.source else None


def licence_warnings(models: Iterable[Model]) -> list[str]:
    """Return one line for each model that must not be used commercially."""
    return [
        f"{model.name}: {entry.hub_id} is not for commercial use: {entry.licence.conditions} ({entry.licence.name})"
        for model in models
        if (entry := entry_of(model)) is not None and entry.licence.commercial == "forbidden"
    ]


def context_warnings(models: Iterable[Model]) -> list[str]:
    """Return one line for each model with more `context` than its weights were made for: most engines refuse it."""
    return [
        f"{model.name}: context {model.context:,} is above the {entry.context:,} tokens of {entry.hub_id};"
        " the engine will probably not start"
        for model in models
        if (entry := entry_of(model)) is not None and model.context is not None and model.context > entry.context
    ]
