"""How each engine that smallfirst can start is checked and launched, by its name in models.yaml."""

from __future__ import annotations

import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from router.catalogue.bundled import find
from router.config.models import Model
from router.engine.command import CPU_ENV, Host, Launch, check_vllm_args, vllm_launch
from router.engine.cpu import architectures_of
from router.engine.transformers_launch import transformers_launch
from router.errors import ConfigError

GIB = 2**30
KV_CACHE_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"


class Launcher(ABC):
    """One kind of engine."""

    @abstractmethod
    def check_args(self, model: Model) -> None:
        """Check the engine's own arguments, independently of this machine.

        Raises:
            ConfigError: an argument is invalid. The message names it and what to write instead.
        """

    @abstractmethod
    def check_installed(self, model: Model) -> None:
        """Check that this machine can run the engine.

        Raises:
            ConfigError: it cannot. The message says what to do.
        """

    def reserved_bytes(self, environ: Mapping[str, str]) -> float:
        """Return the memory that a replica reserves beside its weights on a machine without a GPU."""
        return 0.0

    @abstractmethod
    def launch(self, model: Model, index: int, path: str, socket: Path, host: Host) -> Launch:
        """Return the command that serves one replica, with weights from the folder `path`, on `socket`.

        Raises:
            ConfigError: an argument is invalid, or the machine lacks a GPU of the model.
        """


class VllmLauncher(Launcher):
    """vLLM."""

    def reserved_bytes(self, environ: Mapping[str, str]) -> float:
        """Return the size of the KV cache. vLLM itself reports a wrong value, at its start."""
        try:
            return float(environ.get(KV_CACHE_VARIABLE, CPU_ENV[KV_CACHE_VARIABLE])) * GIB
        except ValueError:
            return 0.0

    def check_args(self, model: Model) -> None:
        """Check `vllm_args`."""
        check_vllm_args(model)

    def check_installed(self, model: Model) -> None:
        """Check that vLLM is installed beside the gateway."""
        if importlib.util.find_spec("vllm") is None:
            raise ConfigError(
                f"{model.where}.source: vLLM is not installed: install it (`make serve` does),"
                " or run it elsewhere and attach it by `base_url`"
            )

    def launch(self, model: Model, index: int, path: str, socket: Path, host: Host) -> Launch:
        """Return vLLM's command."""
        return vllm_launch(model, index, path, socket, host, architectures_of(Path(path)))


class TransformersLauncher(Launcher):
    """Our own server for models of the library transformers."""

    def check_args(self, model: Model) -> None:
        """Check that the user allows a model's own code to run, if the catalogue says that it has some."""
        if model.catalogue and find(model.catalogue).own_code and not model.transformers_args.trust_remote_code:
            raise ConfigError(
                f"{model.where}.transformers_args: the model needs the Python code of its own repository, which would"
                " run as the user who runs the gateway. Read it, and if you trust it, write"
                " `transformers_args: {trust_remote_code: true}`"
            )

    def check_installed(self, model: Model) -> None:
        """Check that the packages are installed beside the gateway, or that the other interpreter exists."""
        if python := model.transformers_args.python:
            if not os.access(python, os.X_OK) or Path(python).is_dir():
                raise ConfigError(
                    f"{model.where}.transformers_args.python: expected the path of a Python interpreter, got {python!r}"
                )
            return
        for package in ("torch", "transformers"):
            if importlib.util.find_spec(package) is None:
                raise ConfigError(
                    f"{model.where}.source: {package} is not installed: install it (`make serve` does),"
                    " or write `transformers_args: {python: ...}` with an environment that has it"
                )

    def launch(self, model: Model, index: int, path: str, socket: Path, host: Host) -> Launch:
        """Return the server's command."""
        return transformers_launch(model, index, path, socket, host)


LAUNCHERS: Mapping[str, Launcher] = {"vllm": VllmLauncher(), "transformers": TransformersLauncher()}
