"""Checks the managed models before any of them is started."""

from __future__ import annotations

import os

from router.config.models import Config, without_adapters
from router.engine.gpu import check_gpu_args, check_gpus, visible_gpus
from router.engine.launchers import LAUNCHERS
from router.engine.memory import check_memory, total_memory
from router.engine.source import check_source_exists, parse


def check_managed(config: Config) -> None:
    """Check the managed models of a configuration.

    The settings of every model are checked. What the machine must provide is checked only for models it serves.

    Raises:
        ConfigError: a `source` is invalid or missing, an argument of the engine is invalid, a GPU is missing or its
            memory shares exceed 1, the models cannot fit the memory, or the engine is not installed. The message names
            the model and the key.
    """
    for model in without_adapters({**config.written, **config.models}):
        if model.managed:
            parse(model)
            LAUNCHERS[model.engine].check_args(model)
            check_gpu_args(model)
    managed = [model for model in without_adapters(config.models) if model.managed]
    if not managed:  # looking for GPUs starts a program
        return
    for model in managed:
        check_source_exists(model)
    gpus = len(visible_gpus(os.environ))
    check_gpus(managed, gpus, config.swap.values())
    if not gpus:
        check_memory(managed, config.swap.values(), os.environ, total_memory())
    for model in managed:
        LAUNCHERS[model.engine].check_installed(model)
