"""GET /v1/models: the routes and the models that a client may name."""

from __future__ import annotations

from time import time
from typing import Any

from router.config.models import Config
from router.errors import NotFound


class ModelList:
    """The routes and models of one configuration, in OpenAI's format."""

    def __init__(self, config: Config) -> None:
        created = int(time())
        self._entries = {
            name: {"id": name, "object": "model", "created": created, "owned_by": "smallfirst"}
            for name in sorted({*config.routes, *config.models})
        }
        for name, model in config.models.items():
            if model.adapter_of is not None:
                self._entries[name]["parent"] = model.adapter_of

    def all(self) -> dict[str, Any]:
        """Return the list, sorted by id."""
        return {"object": "list", "data": list(self._entries.values())}

    def one(self, name: str) -> dict[str, Any]:
        """Return one entry.

        Raises:
            NotFound: no route and no model has that name.
        """
        if entry := self._entries.get(name):
            return entry
        raise NotFound(
            f"The model '{name[:128]}' does not exist; GET /v1/models lists what is served.",
            param="model",
            code="model_not_found",
        )
