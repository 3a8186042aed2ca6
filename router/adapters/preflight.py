"""Checks the adapters of the managed models before anything is started."""

from __future__ import annotations

from router.adapters.folder import read_adapter
from router.config.models import Config, Model
from router.engine.source import LocalPath, PackageFile, parse_source
from router.errors import ConfigError, EngineError


def check_adapters(config: Config) -> None:
    """Check the adapters of a configuration. Their files are checked only for models that this machine serves.

    Raises:
        ConfigError: a source is invalid or incomplete, or a vLLM argument contradicts the adapters. The message names
            the adapter or the key.
    """
    for model in config.written.values():
        if model.adapters:
            _check_vllm_args(model)
        for name, source in model.adapters.items():
            where = config.written[name].where
            parsed = parse_source(source, where)
            if isinstance(parsed, PackageFile):
                raise ConfigError(f"{where}: expected a hub id or a folder, got {source!r}")
            if isinstance(parsed, LocalPath) and name in config.models:
                _check_folder(model, where, parsed)


def _check_vllm_args(model: Model) -> None:
    where, args = f"{model.where}.vllm_args", model.vllm_args
    if args.get("enable_lora") is False:
        raise ConfigError(f"{where}.enable_lora: the model has `adapters`, which need it: leave the key out")
    if args.get("api_server_count", 1) != 1:
        raise ConfigError(f"{where}.api_server_count: expected 1: `adapters` are loaded into one API server process")


def _check_folder(model: Model, where: str, source: LocalPath) -> None:
    try:
        rank = read_adapter(source.path).rank
    except EngineError as error:
        raise ConfigError(f"{where}: {error}") from None
    limit = model.vllm_args.get("max_lora_rank")
    if type(limit) is int and rank > limit:
        raise ConfigError(f"{where}: its rank is {rank}, but vllm_args.max_lora_rank is {limit}")
