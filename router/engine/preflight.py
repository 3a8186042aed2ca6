"""What can be known of the managed models before any of them is started."""

from __future__ import annotations

import importlib.util
import os

from router.config.models import Config
from router.engine.command import check_vllm_args
from router.engine.gpu import check_gpu_args, check_gpus, visible_gpus
from router.engine.source import check_there, parse
from router.errors import ConfigError


def check_managed(config: Config) -> None:
    """Check the managed models of a configuration.

    What is written is checked on every machine; what the machine must have, for the models it serves.

    Raises:
        ConfigError: naming the model and the key: a `source` that is none or not there, an argument of vLLM that
            is not the user's to set, GPUs that are not there or too small for the shares asked of them, no vLLM.
    """
    for model in {**config.written, **config.models}.values():
        if model.managed:
            parse(model)
            check_vllm_args(model)
            check_gpu_args(model)
    managed = [model for model in config.models.values() if model.managed]
    if not managed:
        return
    for model in managed:
        check_there(model)
    check_gpus(managed, len(visible_gpus(os.environ)))
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            f"{managed[0].where}.source: vLLM is not installed: install it (`make serve` does),"
            " or run it elsewhere and attach it by `base_url`"
        )
