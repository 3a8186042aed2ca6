"""What is refused before anything starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from router.config.models import Config
from router.engine import launchers, preflight
from router.engine.preflight import check_managed
from router.errors import ConfigError
from router.load_config import load
from server import cli
from server.commands import base, serve

ATTACHED = "models: {big: {tier: llm, engine: openai, base_url: http://127.0.0.1:9/v1}}"


def configured(folder: Path, *, gpu: bool = False, **models: str) -> Config:
    """Return the configuration of these managed models, each given by its other keys."""
    text = "models:\n  big: {tier: llm, engine: openai, base_url: http://127.0.0.1:9/v1}\n"
    for name, fields in models.items():
        text += f"  {name}: {{tier: slm, engine: vllm, {fields}}}\n"
    file = folder / "models.yaml"
    file.write_text(text)
    return load(file, {}, gpu=gpu)


@pytest.fixture(autouse=True)
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "visible_gpus", lambda _: ("0", "1"))
    monkeypatch.setattr(launchers.importlib.util, "find_spec", lambda _: object())


def test_what_is_right_is_accepted(tmp_path: Path) -> None:
    check_managed(configured(tmp_path, a="source: owner/model, gpus: [0]", b="source: owner/model, gpus: [1]"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("source: 'a b'", r"models\.left\.source: expected a hub id"),
        ("source: owner/model, vllm_args: {port: 1}", r"models\.left\.vllm_args\.port"),
        ("source: owner/model, vllm_args: {a: .nan}", "expected a JSON value"),
        ("source: owner/model, vllm_args: {tensor_parallel_size: .inf}", "expected"),
        ("source: owner/model, gpus: [3, 3], replicas: 2", "is listed twice"),
    ],
)
def test_a_model_that_is_left_out_here_is_checked_too(tmp_path: Path, fields: str, message: str) -> None:
    config = configured(tmp_path, left=f"requires: {{gpu: true}}, {fields}")
    assert "left" in config.left_out
    with pytest.raises(ConfigError, match=message):
        check_managed(config)


def test_what_a_model_that_is_left_out_asks_of_the_machine_does_not_count(tmp_path: Path) -> None:
    left = "requires: {gpu: false}, source: ./nowhere, gpus: [0]"
    config = configured(tmp_path, gpu=True, a="source: owner/model, gpus: [0]", left=left)
    check_managed(config)


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models\.a\.source: nowhere: no such folder or file"):
        check_managed(configured(tmp_path, a="source: ./nowhere"))


def test_managed_models_need_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launchers.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"models\.a\.source: vLLM is not installed: .*`base_url`"):
        check_managed(configured(tmp_path, a="source: owner/model"))
    check_managed(configured(tmp_path))


def test_a_state_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(tmp_path, a="source: owner/model")
    (tmp_path / "file").touch()
    monkeypatch.setenv("SMALLFIRST_STATE_DIR", str(tmp_path / "file" / "state"))
    monkeypatch.setattr(base, "gpu_present", lambda: False)
    monkeypatch.setattr(serve, "_open_listeners", None)  # it is told before
    assert cli.main(["serve", "--config", str(tmp_path / "models.yaml")]) == 2
    assert f"SMALLFIRST_STATE_DIR: cannot write to {tmp_path}/file/state: Not a directory" in capsys.readouterr().err


def test_a_state_folder_is_made(tmp_path: Path) -> None:
    serve._check_writable(tmp_path / "new" / "state")
    assert list((tmp_path / "new" / "state").iterdir()) == []


def test_ctrl_c_while_it_loads_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(base, "load", interrupted)
    assert cli.main(["check"]) == 0


def test_ctrl_c_while_modules_load_is_no_error() -> None:
    program = """
import sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == "router.load_config":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
import server.cli
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_hang_up_ends_it_as_sigterm_does(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(ATTACHED)
    gateway = subprocess.Popen(
        [
            *("env", "--default-signal=HUP"),  # whoever runs the tests may ignore it, as under nohup
            *(sys.executable, "-m", "server.cli", "serve", "--port", "0"),
            *("--config", str(tmp_path / "models.yaml")),
        ],
        env=os.environ | {"SMALLFIRST_STATE_DIR": str(tmp_path), "SMALLFIRST_API_KEYS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert gateway.stdout
    with gateway, gateway.stdout:
        said = ""
        while "http://127.0.0.1:" not in said:
            line = gateway.stdout.readline()
            assert line, said
            said += line
        gateway.send_signal(signal.SIGHUP)
        rest = gateway.stdout.read()
        assert gateway.wait() == -signal.SIGTERM
    assert "Traceback" not in said + rest


def test_an_error_says_where_the_entry_stands(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("models:\n  a:\n    tier: slm\n    engine: vllm\n    source: org/x\n    vllm_args: {host: 1}\n")
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(file))}:2: models\.a\.vllm_args\.host: "):
        check_managed(load(file, {}, gpu=False))
