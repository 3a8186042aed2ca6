"""`smallfirst check` and the start itself: a wrong models.yaml is told with file, line, key and what was expected."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.integration.conftest import Command
from tests.support import gateway as gateways

GOOD = """\
models:
  small:
    tier: slm
    engine: vllm
    base_url: http://127.0.0.1:9/v1
    context: 2048
  large:
    tier: llm
    engine: openai
    base_url: [http://127.0.0.1:9/v1, http://127.0.0.1:10/v1]
    api_key: ${env.A_PROVIDER_KEY}
    upstream_model: big
    price: {input_usd_per_mtok: 0.40, cached_input_usd_per_mtok: 0.10, output_usd_per_mtok: 1.60}
    timeouts: {connect_s: 2, first_byte_s: 20, idle_s: 20, total_s: 300}
routes:
  auto:
    ladder: [small, large]
    policy: fixed
"""


def test_a_good_file_is_valid(smallfirst: Command) -> None:
    done = smallfirst("check", GOOD, A_PROVIDER_KEY="sk-provider-canary")
    assert done.code == 0, done.stderr
    assert "2 models" in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_a_model_without_its_key_is_left_out_with_one_line(smallfirst: Command) -> None:
    done = smallfirst("check", GOOD)
    assert done.code == 0
    lines = [line for line in done.stderr.splitlines() if "large" in line]
    assert len(lines) == 1
    assert "A_PROVIDER_KEY" in lines[0]


WRONG: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "unknown key": ("    context: 2048", "    contxt: 2048", ("models.yaml:6", "contxt", "context")),
    "unknown top key": ("routes:", "rotues:", ("models.yaml:15", "rotues", "routes")),
    "wrong type": ("    context: 2048", "    context: many", ("models.yaml:6", "models.small.context", "many")),
    "wrong tier": ("    tier: slm", "    tier: tiny", ("models.yaml:3", "models.small.tier", "slm")),
    "unknown model": ("[small, large]", "[small, lrage]", ("models.yaml:17", "routes.auto.ladder[1]", "large")),
    "unknown policy": ("policy: fixed", "policy: best", ("models.yaml:18", "routes.auto.policy", "cascade")),
    "no evidence": ("policy: fixed", "policy: cascade\n    evidence: e.json", ("e.json", "cannot be read")),
    "half a guarantee": (
        "    policy: fixed",
        "    policy: cascade\n    guarantee: {confidence: 0.9}",
        ("models.yaml:19", "max_quality_loss"),
    ),
    "half a price": (
        ", output_usd_per_mtok: 1.60",
        "",
        ("models.yaml:13", "models.large.price", "output_usd_per_mtok"),
    ),
    "bad url": ("http://127.0.0.1:9/v1\n", "localhost:9\n", ("models.yaml:5", "models.small.base_url", "http://")),
    "twice": ("    context: 2048", "    tier: llm", ("models.yaml:6", "models.small.tier", "twice")),
    "no yaml": ("models:\n", "models: [\n", ("models.yaml:", "YAML")),
    "no server": ("    base_url: http://127.0.0.1:9/v1\n", "", ("models.small", "source", "base_url")),
    "zero timeout": ("connect_s: 2", "connect_s: 0", ("models.yaml:14", "connect_s")),
    "required key": ("    upstream_model: big", "    required: true", ("models.yaml:11", "A_PROVIDER_KEY")),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_is_told(smallfirst: Command, kind: str) -> None:
    old, new, told = WRONG[kind]
    assert old in GOOD
    done = smallfirst("check", GOOD.replace(old, new, 1))
    assert done.code == 2
    for words in told:
        assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_refuses_what_check_refuses(smallfirst: Command) -> None:
    done = smallfirst("serve", GOOD.replace("tier: slm", "tier: tiny"), "--port", "0")
    assert done.code == 2
    assert "models.small.tier" in done.stderr


@pytest.mark.parametrize("text", ["", "models:", "- a\n- b", "models: {}", "just words", "\x00"], ids=repr)
def test_a_file_with_nothing_in_it_is_told(smallfirst: Command, text: str) -> None:
    done = smallfirst("check", text)
    assert done.code == 2
    assert "models.yaml" in done.stderr


def test_a_missing_file_is_told(smallfirst: Command, tmp_path: Path) -> None:
    done = smallfirst("check", GOOD, "--config", str(tmp_path / "none.yaml"))
    assert done.code == 2
    assert "none.yaml" in done.stderr


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    config = tmp_path / "models.yaml"
    config.write_text(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = gateways.run("serve", "--config", str(config), "--port", port, folder=tmp_path)
    assert done.returncode == 2
    assert port in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SMALLFIRST_MAX_IN_FLIGHT", "0"),
        ("SMALLFIRST_MAX_QUEUED", "-1"),
        ("SMALLFIRST_QUEUE_TIMEOUT_S", "soon"),
        ("SMALLFIRST_MAX_BODY_BYTES", "1MB"),
        ("SMALLFIRST_PORT", "99999"),
        ("SMALLFIRST_WORKERS", "0"),
        ("SMALLFIRST_WORKERS", "many"),
    ],
)
def test_a_wrong_setting_is_told(smallfirst: Command, variable: str, value: str) -> None:
    done = smallfirst("serve", GOOD, **{variable: value})
    assert done.code == 2
    assert variable in done.stderr
    assert value in done.stderr


def test_more_workers_than_slots_are_told_with_both_flags(smallfirst: Command) -> None:
    done = smallfirst("serve", GOOD, "--workers", "3", SMALLFIRST_MAX_IN_FLIGHT="2")
    assert done.code == 2
    assert "--workers 3" in done.stderr
    assert "--max-in-flight 2" in done.stderr


@pytest.mark.parametrize("path", ["models.yaml", "deploy/models.yaml"])
def test_the_projects_own_models_yaml_is_valid(smallfirst: Command, path: str) -> None:
    done = smallfirst("check", (gateways.ROOT / path).read_text())
    assert done.code == 0, done.stderr


def test_what_is_not_always_loaded_is_listed(smallfirst: Command) -> None:
    far = "{tier: slm, engine: vllm, base_url: http://127.0.0.1:9/v1, hours: '22:00-06:00 Europe/Madrid'}"
    done = smallfirst("check", f"models: {{far: {far}}}")
    assert done.code == 0, done.stderr
    assert "far: runs 22:00-06:00 Europe/Madrid" in done.stdout
