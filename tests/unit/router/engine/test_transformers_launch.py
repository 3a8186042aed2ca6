"""The command line and environment of the transformers server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from router.config.model_options import Timeouts, TransformersArgs
from router.config.models import Model
from router.engine.command import Host, Launch
from router.engine.transformers_launch import SERVER, transformers_launch
from router.errors import ConfigError

SOCKET = Path("/run/smallfirst-1/engine.sock")


def launch(environ: dict[str, str] | None = None, *, gpus: str = "", index: int = 0, **fields: Any) -> Launch:
    arguments = TransformersArgs(**fields.pop("args", {}))
    entry = {"name": "tiny", "tier": "slm", "engine": "transformers", "source": "owner/model"} | fields
    subject = Model(**entry, transformers_args=arguments)
    return transformers_launch(subject, index, "/models/tiny", SOCKET, Host(environ or {}, gpus.split(), 2))


def value(argv: tuple[str, ...], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_the_server_is_run_as_a_folder_on_a_private_socket() -> None:
    argv = launch(context=2048).argv
    assert argv[:3] == (sys.executable, str(SERVER), "/models/tiny")
    assert (SERVER / "__main__.py").exists()
    assert value(argv, "--uds") == str(SOCKET)
    assert value(argv, "--name") == "tiny"
    assert value(argv, "--context") == "2048"
    assert "--context" not in launch().argv


def test_the_models_code_runs_only_if_the_user_says_so() -> None:
    assert "--trust-remote-code" not in launch().argv
    assert "--trust-remote-code" in launch(args={"trust_remote_code": True}).argv


def test_a_request_is_refused_before_the_gateway_takes_its_wait_for_a_fault() -> None:
    subject = launch(timeouts=Timeouts(first_byte_s=20))
    assert value(subject.argv, "--max-wait-s") == "10"


@pytest.mark.parametrize(
    ("gpus", "dtype", "used"),
    [("", "auto", "float32"), ("", "bfloat16", "bfloat16"), ("0", "auto", "auto"), ("0", "float16", "float16")],
)
def test_without_a_gpu_weights_are_float32(gpus: str, dtype: str, used: str) -> None:
    assert value(launch(gpus=gpus, args={"dtype": dtype}).argv, "--dtype") == used


def test_gpus_are_dealt_out() -> None:
    entry = Model(name="tiny", tier="slm", engine="transformers", source="owner/model", replicas=2, gpus=(1, 0))
    host = Host({}, ["GPU-a", "GPU-b"], 2)
    visible = [transformers_launch(entry, index, "/m", SOCKET, host).env["CUDA_VISIBLE_DEVICES"] for index in range(2)]
    assert visible == ["GPU-b", "GPU-a"]
    assert value(transformers_launch(entry, 0, "/m", SOCKET, host).argv, "--gpu-memory-utilization") == "0.92"
    with pytest.raises(ConfigError, match="there is no GPU 1"):
        transformers_launch(entry, 0, "/m", SOCKET, Host({}, ["GPU-a"], 2))


def test_threads_sleep_while_they_wait() -> None:
    assert launch().env["OMP_NUM_THREADS"] == "2"
    assert launch({"OMP_NUM_THREADS": "1"}).env["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in launch(gpus="0").env


def test_no_key_reaches_the_models_code_and_nothing_is_downloaded() -> None:
    environ = {"PATH": "/bin", "OPENAI_API_KEY": "k", "SMALLFIRST_API_KEYS": "k", "HF_TOKEN": "k", "HTTPS_PROXY": "p"}
    env = launch(environ | {"HF_HUB_OFFLINE": "0"}).env
    assert env["HF_HUB_OFFLINE"] == env["TRANSFORMERS_OFFLINE"] == "1"
    assert env["PATH"] == "/bin"
    assert "k" not in env.values()
    assert "HTTPS_PROXY" not in env


def test_another_interpreter_keeps_its_own_packages() -> None:
    environ = {"PYTHONPATH": "/ours", "PYTHONHOME": "/ours", "VIRTUAL_ENV": "/ours", "HOME": "/home/x"}
    assert launch(environ).env["PYTHONPATH"] == "/ours"
    other = launch(environ, args={"python": "/opt/hymba/bin/python"})
    assert other.argv[0] == "/opt/hymba/bin/python"
    assert "/ours" not in other.env.values()
    assert other.env["HOME"] == "/home/x"
