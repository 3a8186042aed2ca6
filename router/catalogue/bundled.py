"""The catalogue itself: reads `catalogue.yaml`, and finds entries in it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from router.catalogue.entry import CatalogueEntry
from router.messages.words import one_of

FOLDER = Path(__file__).parent
TEMPLATES = FOLDER / "templates"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader: a tenth of the time, and this file needs no line numbers"""


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Return every entry by its name."""
    data = _data()
    return {
        name: CatalogueEntry.model_validate(
            {**entry, "name": name, "as_of": data["as_of"], "licence": data["licences"][entry["licence"]]}
        )
        for name, entry in data["models"].items()
    }


def vllm_version() -> str:
    """Return the release of vLLM whose parsers and options the entries name."""
    return str(_data()["vllm"])


def find(name: str) -> CatalogueEntry:
    """Return the entry of that name.

    Raises:
        ValueError: there is none. The message names those that are close.
    """
    if found := catalogue().get(name):
        return found
    longer = [known for known in catalogue() if name and known.startswith(name)]
    if same := by_hub_id(name):
        longer = [same.name]
    similar = (longer or difflib.get_close_matches(name.lower(), catalogue(), cutoff=0.5))[:3]
    suggestion = f"; did you mean {one_of(similar)}?" if similar else ""
    raise ValueError(f"no entry {name!r} in the catalogue{suggestion} (`smallfirst models` lists them all)")


def by_hub_id(hub_id: str) -> CatalogueEntry | None:
    """Return the entry of a model on the hub, or None."""
    return next((entry for entry in catalogue().values() if entry.hub_id.lower() == hub_id.lower()), None)


@cache
def _data() -> Mapping[str, Any]:
    text = (FOLDER / "catalogue.yaml").read_text(encoding="utf-8")
    data: Mapping[str, Any] = yaml.load(text, Loader=_LOADER)  # noqa: S506 (it is a safe loader)
    return data
