"""Builds the command line and environment of one managed transformers server, without side effects."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from router.config.models import Model
from router.engine.command import Host, Launch, filter_env
from router.engine.gpu import visible_to
from router.engine.progress import Stages
from router.upstream.dialects.transformers import max_wait_s

STAGES = Stages(
    "loading the library's code",
    (("loading the model", "loading the weights"), ("the model is loaded", "starting its API")),
)
"""the words are in `transformers_server.program`"""
SERVER = Path(__file__).with_name("transformers_server")
"""a folder that any interpreter can run: it imports nothing of smallfirst"""
OFFLINE_ENV = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
CPU_ENV = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""waiting threads must sleep, as the gateway and other replicas share the cores"""
OWN_INTERPRETER_ENV = re.compile(r"PYTHON\w*|VIRTUAL_ENV")
"""variables of the gateway's environment that would change what another interpreter imports"""


def transformers_launch(model: Model, index: int, path: str, socket: Path, host: Host) -> Launch:
    """Return the command that serves one replica of a managed model, with weights from the folder `path`, on `socket`.

    Raises:
        ConfigError: the machine lacks a GPU of the model.
    """
    args = model.transformers_args
    dtype = "float32" if args.dtype == "auto" and not host.gpus else args.dtype
    flags = ["--uds", str(socket), "--name", model.name, "--dtype", dtype]
    flags += ["--max-wait-s", f"{max_wait_s(model):g}"]
    if model.context is not None:
        flags += ["--context", str(model.context)]
    if host.gpus:
        flags += ["--gpu-memory-utilization", str(args.gpu_memory_utilization)]
    if args.trust_remote_code:
        flags.append("--trust-remote-code")

    env = filter_env(host.environ)
    if args.python:
        env = {name: value for name, value in env.items() if not OWN_INTERPRETER_ENV.fullmatch(name)}
    gpus = visible_to(model, index, host.gpus)
    if gpus and (model.gpus or model.replicas > 1):
        env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if not host.gpus:
        env = CPU_ENV | {"OMP_NUM_THREADS": str(host.cores)} | env
    command = (args.python or sys.executable, str(SERVER), path, *flags)
    return Launch(command, env | OFFLINE_ENV, title="transformers", stages=STAGES, gpus=gpus)
