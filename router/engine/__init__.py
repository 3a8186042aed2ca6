"""Starts and supervises vLLM processes; fetches and prepares models."""

from router.config import Config
from router.engine.command import check_vllm_args
from router.engine.gpu import check_gpus, gpu_count
from router.engine.source import parse


def check_managed(config: Config) -> None:
    """Check what can be known of the managed models before any of them is started.

    Raises:
        ConfigError: naming the model and the key: a `source` that is none, an argument of vLLM that is not the
            user's to set, GPUs that are not there or too small for the shares asked of them.
    """
    managed = [model for model in config.models.values() if model.managed]
    for model in managed:
        parse(model)
        check_vllm_args(model)
    if managed:
        check_gpus(managed, gpu_count())
