"""Builds the command line and environment of one managed vLLM, without side effects."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router.config.models import Model
from router.engine.cpu import cpu_args
from router.engine.gpu import visible_to
from router.engine.progress import VLLM_STAGES, Stages
from router.errors import ConfigError

# Arguments that the gateway sets itself, and what the user should write instead.
RESERVED_ARGS = {
    "api_key": "vLLM listens on a private socket and needs none; clients' keys are SMALLFIRST_API_KEYS",
    "config": "write vLLM's arguments directly under vllm_args",
    "hf_token": "vLLM reads a local folder and no hub; the download program reads HF_TOKEN from the environment",
    "host": "vLLM listens on a private socket; the gateway's address is `smallfirst serve --host`",
    "max_model_len": "write `context` instead",
    "model": "write `source` instead",
    "port": "vLLM listens on a private socket; the gateway's port is `smallfirst serve --port`",
    "served_model_name": "the model's key in models.yaml is its name",
    "uds": "vLLM listens on a private socket of the gateway's choice",
}

DEFAULT_ARGS: dict[str, Any] = {
    "disable_uvicorn_access_log": True,  # the gateway writes its own
    "enable_prompt_tokens_details": True,  # cached input has its own price
}
# Waiting threads must sleep, as the gateway and other replicas share the cores.
CPU_ENV = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
}
NO_TELEMETRY_ENV = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}

# What vLLM's API server and, on a CPU, its engine and its worker import. None of it initialises a GPU.
PRELOAD = ("vllm.entrypoints.launchers.api_server.entry", "vllm.v1.engine.async_llm")
CPU_PRELOAD = (*PRELOAD, "vllm.v1.engine.core", "vllm.v1.worker.cpu_worker", "router.engine.vllm_on_cpu")

STRUCTURED_OUTPUTS_ARG = "structured_outputs_config"
# vLLM's own tool call grammars work with xgrammar only. Without them, vLLM gives the backend a JSON schema of all
# tools, and guidance enforces every argument in it.
JSON_SCHEMA_TOOLS_ENV = ("VLLM_ENFORCE_STRICT_TOOL_CALLING", "0")

# Adapters are loaded while vLLM runs: each version under a new name, from a new folder.
LOAD_ADAPTERS_ENV = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}

# Environment variables passed to engine programs. None of them can contain one of the gateway's keys.
ENV_ALLOWLIST = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|XDG_\w+|LD_\w+|PYTHON\w+|VIRTUAL_ENV"
    r"|(CUDA|NVIDIA|NCCL|VLLM|HF|HUGGINGFACE|TRANSFORMERS|TOKENIZERS|TORCH\w*|TRITON|FLASHINFER)_\w+"
    r"|(OMP|GOMP|KMP|MKL)_\w+",
    re.IGNORECASE,
)
ENV_DENYLIST = {"VLLM_API_KEY"}  # with it, vLLM would require this key from the gateway
# Variables passed only to the hub download, as vLLM runs offline from a local folder.
HUB_ENV = re.compile(
    r"HF_TOKEN(_PATH)?|HUGGING_?FACE_\w*TOKEN"
    r"|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Launch:
    """A command and its environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    preload: tuple[str, ...] = ()
    """the modules that a warm parent imports before it forks this command, which is a `python -m`; if empty, the
    command is started by itself"""
    fork_children: bool = False
    """whether a warm start also forks the processes that the engine starts itself"""
    title: str = "vLLM"
    """the engine's name in messages"""
    stages: Stages = VLLM_STAGES
    """how the engine's log shows what it is doing while it starts"""
    gpus: Sequence[str] = ()
    """the GPUs that the engine uses, named as in CUDA_VISIBLE_DEVICES"""
    can_sleep: bool = False
    """whether the engine can give its memory back without ending (`POST /sleep`, `POST /wake_up`)"""


@dataclass(frozen=True, slots=True)
class Host:
    """What the machine offers a replica."""

    environ: Mapping[str, str]
    gpus: Sequence[str]
    """The GPUs visible to this process, named as in CUDA_VISIBLE_DEVICES. If empty, vLLM runs on the CPU."""
    cores: int


def vllm_launch(
    model: Model, index: int, path: str, socket: Path, host: Host, architectures: Sequence[str] = ()
) -> Launch:
    """Return the command that serves one replica of a managed model, with weights from the folder `path`, on `socket`.

    `architectures` are those of the weights.

    Raises:
        ConfigError: `vllm_args` contains a reserved key, or the machine lacks a GPU of the model.
    """
    check_vllm_args(model)
    args: dict[str, Any] = {"model": path, "uds": str(socket), "served_model_name": model.name}
    if model.context is not None:
        args["max_model_len"] = model.context
    args |= DEFAULT_ARGS | ({} if host.gpus else cpu_args(architectures)) | model.vllm_args
    # Without this, the first structured request that vLLM serves decides the backend for all later ones.
    args[STRUCTURED_OUTPUTS_ARG] = {"backend": model.backend} | args.get(STRUCTURED_OUTPUTS_ARG, {})

    env = NO_TELEMETRY_ENV | filter_env(host.environ)
    if model.backend == "guidance":
        env.setdefault(*JSON_SCHEMA_TOOLS_ENV)
    if model.adapters:
        env |= LOAD_ADAPTERS_ENV
    env.setdefault("HF_HUB_OFFLINE", "1")  # the weights are in a local folder, so the hub is not needed
    env["VLLM_RPC_BASE_PATH"] = str(socket.parent)  # vLLM's own sockets, in the same private folder
    gpus = visible_to(model, index, host.gpus)
    if gpus and (model.gpus or model.replicas > 1):
        env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if not host.gpus:
        env = CPU_ENV | {"OMP_NUM_THREADS": str(host.cores)} | env
    can_sleep = bool(host.gpus) and args.get("enable_sleep_mode") is True  # on a CPU, sleep frees nothing
    if can_sleep:
        env["VLLM_SERVER_DEV_MODE"] = "1"  # only then vLLM has the paths for it, on its private socket
    argv = (sys.executable, "-m", "vllm.entrypoints.openai.api_server", *to_flags(args))
    # A process that uses CUDA must not be forked, so on a GPU vLLM starts its own processes as it likes.
    preload = PRELOAD if host.gpus else CPU_PRELOAD
    return Launch(argv, env, preload, fork_children=not host.gpus, gpus=gpus, can_sleep=can_sleep)


def check_vllm_args(model: Model) -> None:
    """Check that the keys of a model's `vllm_args` are allowed and its values are JSON. vLLM checks their meaning.

    Raises:
        ConfigError: a key or value is invalid. The message names the key and what to write instead.
    """
    for key, value in model.vllm_args.items():
        where = f"{model.where}.vllm_args.{key}"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            raise ConfigError(f"{where}: expected vLLM's argument in snake_case, such as max_num_seqs")
        if key in RESERVED_ARGS:
            raise ConfigError(f"{where}: {RESERVED_ARGS[key]}")
        if key == STRUCTURED_OUTPUTS_ARG and (not isinstance(value, dict) or "backend" in value):
            raise ConfigError(f"{where}: expected a mapping without `backend`; write `structured_backend` instead")
        if value is None:
            raise ConfigError(f"{where}: expected a value; leave the key out for vLLM's default")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):  # a date, bytes, a set, .nan
            raise ConfigError(
                f"{where}: expected a JSON value at every level: text, finite numbers, true, false, lists, mappings"
                " (write a date as text in quotes)"
            ) from None


def to_flags(args: Mapping[str, Any]) -> list[str]:
    """Convert arguments to vLLM's command line flags: `max_num_seqs: 8` becomes `--max-num-seqs 8`."""
    argv: list[str] = []
    for key, value in args.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            argv.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list):
            argv += [f"--{name}", *map(_to_text, value)]
        else:
            argv += [f"--{name}", _to_text(value)]
    return argv


def filter_env(environ: Mapping[str, str], *, hub: bool = False) -> dict[str, str]:
    """Return the environment variables that engine programs may see. `hub`: include those of the hub download."""

    def is_allowed(name: str) -> bool:
        if HUB_ENV.fullmatch(name):
            return hub
        return bool(ENV_ALLOWLIST.fullmatch(name)) and name not in ENV_DENYLIST

    return {name: value for name, value in environ.items() if is_allowed(name)}


def _to_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
