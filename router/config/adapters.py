"""Makes one model of each adapter in models.yaml."""

from __future__ import annotations

from collections.abc import Mapping

from router.config.models import Model
from router.errors import ConfigError
from router.yaml.document import KeyPath, YamlDocument, dotted


def with_adapters(file: YamlDocument, models: Mapping[str, Model], left_out: dict[str, str]) -> dict[str, Model]:
    """Return the models of the file, each followed by its adapters.

    The adapters of a model that is left out are added to `left_out`.

    Raises:
        ConfigError: an adapter has the name of another model.
    """
    every: dict[str, Model] = {}
    for base in models.values():
        every[base.name] = base
        for adapter in base.adapter_models:
            at: KeyPath = ("models", base.name, "adapters", adapter.name)
            place = f"{file.where(at)}: {dotted(at)}"
            if adapter.name in models or adapter.name in every:
                raise ConfigError(f"{place}: another model has the same name; clients could mean either")
            every[adapter.name] = adapter.model_copy(update={"place": place})
            if base.name in left_out:
                left_out[adapter.name] = f"{adapter.name} is left out: it is an adapter of {base.name}"
    return every
