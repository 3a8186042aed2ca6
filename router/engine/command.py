"""The command line and environment of one managed vLLM. Pure."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router.config.models import Model
from router.engine.gpu import device_names
from router.errors import ConfigError

# What the gateway decides, and where a user says it instead.
OURS = {
    "api_key": "vLLM listens on a private socket and needs none; clients' keys are SMALLFIRST_API_KEYS",
    "config": "write vLLM's arguments under vllm_args themselves",
    "hf_token": "vLLM reads a folder and asks no hub; what fetches the model reads HF_TOKEN from the environment",
    "host": "vLLM listens on a private socket; the gateway's address is `smallfirst serve --host`",
    "max_model_len": "write `context` instead",
    "model": "write `source` instead",
    "port": "vLLM listens on a private socket; the gateway's port is `smallfirst serve --port`",
    "served_model_name": "the model's key in models.yaml is its name",
    "uds": "vLLM listens on a private socket of the gateway's choice",
}

DEFAULTS: dict[str, Any] = {
    "disable_uvicorn_access_log": True,  # the gateway writes one
    "enable_prompt_tokens_details": True,  # cached input has its own price
}
# Without AVX-512, bfloat16 is five times slower than float32; compiling a model gains nothing on a CPU.
CPU_DEFAULTS: dict[str, Any] = {"dtype": "float32", "enforce_eager": True}
# Threads that wait must sleep: the gateway and other replicas share the cores.
CPU_ENV = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
}
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}

STRUCTURED = "structured_outputs_config"
# vLLM's own grammars for tool calls are xgrammar's; without them it gives the backend a JSON schema of all tools,
# which guidance enforces down to the last argument.
PLAIN_TOOL_GRAMMARS = ("VLLM_ENFORCE_STRICT_TOOL_CALLING", "0")

# What programs of the engine get of our environment: nothing that could hold one of the gateway's keys.
PASSED_ON = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|XDG_\w+|LD_\w+|PYTHON\w+|VIRTUAL_ENV"
    r"|(CUDA|NVIDIA|NCCL|VLLM|HF|HUGGINGFACE|TRANSFORMERS|TOKENIZERS|TORCH\w*|TRITON|FLASHINFER)_\w+"
    r"|(OMP|GOMP|KMP|MKL)_\w+",
    re.IGNORECASE,
)
NOT_PASSED_ON = {"VLLM_API_KEY"}  # vLLM would ask the gateway for it
# What only the fetch from the hub gets: vLLM runs offline, from a folder.
FOR_THE_HUB = re.compile(
    r"HF_TOKEN(_PATH)?|HUGGING_?FACE_\w*TOKEN"
    r"|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Launch:
    """What to execute, and with which environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


def vllm_launch(
    model: Model, index: int, path: str, socket: Path, environ: Mapping[str, str], *, gpus: Sequence[str], cores: int
) -> Launch:
    """Return how to start one replica of a managed model: its weights in the folder `path`, served on `socket`.

    `gpus` are those that this process sees, by the names of CUDA_VISIBLE_DEVICES; none: it runs on the CPU.

    Raises:
        ConfigError: `vllm_args` holds a key that is not the user's to set, or a GPU of the model is not there.
    """
    check_vllm_args(model)
    args: dict[str, Any] = {"model": path, "uds": str(socket), "served_model_name": model.name}
    if model.context is not None:
        args["max_model_len"] = model.context
    args |= DEFAULTS | ({} if gpus else CPU_DEFAULTS) | model.vllm_args
    # vLLM otherwise lets the first structured request of its life decide on the backend for all later ones
    args[STRUCTURED] = {"backend": model.backend} | args.get(STRUCTURED, {})

    env = QUIET | passed_on(environ)
    if model.backend == "guidance":
        env.setdefault(*PLAIN_TOOL_GRAMMARS)
    env.setdefault("HF_HUB_OFFLINE", "1")  # the weights lie in a folder: nothing is left to ask the hub
    env["VLLM_RPC_BASE_PATH"] = str(socket.parent)  # vLLM's own sockets, in the same private folder
    if model.gpus:
        env["CUDA_VISIBLE_DEVICES"] = device_names(model, index, gpus)
    if not gpus:
        env = CPU_ENV | {"OMP_NUM_THREADS": str(cores)} | env
    return Launch((sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags(args)), env)


def check_vllm_args(model: Model) -> None:
    """Check the names in a model's `vllm_args`, and that the values are plain; what they mean, vLLM checks.

    Raises:
        ConfigError: naming the key, and what to write instead.
    """
    for key, value in model.vllm_args.items():
        where = f"{model.where}.vllm_args.{key}"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", key):
            raise ConfigError(f"{where}: expected vLLM's argument in snake_case, such as max_num_seqs")
        if key in OURS:
            raise ConfigError(f"{where}: {OURS[key]}")
        if key == STRUCTURED and (not isinstance(value, dict) or "backend" in value):
            raise ConfigError(f"{where}: expected a mapping without `backend`; write `structured_backend` instead")
        if value is None:
            raise ConfigError(f"{where}: expected a value; leave the key out for vLLM's default")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):  # a date, bytes, a set, .nan
            raise ConfigError(
                f"{where}: expected what JSON can say, also inside: text, finite numbers, true, false, lists, mappings"
                " (a date is text in quotes)"
            ) from None


def flags(args: Mapping[str, Any]) -> list[str]:
    """Return the arguments as vLLM reads them: `max_num_seqs: 8` is `--max-num-seqs 8`."""
    argv: list[str] = []
    for key, value in args.items():
        name = key.replace("_", "-")
        if isinstance(value, bool):
            argv.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list):
            argv += [f"--{name}", *map(_text, value)]
        else:
            argv += [f"--{name}", _text(value)]
    return argv


def passed_on(environ: Mapping[str, str], *, hub: bool = False) -> dict[str, str]:
    """Return the part of the environment that programs of the engine may see; `hub`: that the fetch may."""

    def seen(name: str) -> bool:
        if FOR_THE_HUB.fullmatch(name):
            return hub
        return bool(PASSED_ON.fullmatch(name)) and name not in NOT_PASSED_ON

    return {name: value for name, value in environ.items() if seen(name)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
