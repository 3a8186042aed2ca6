"""A gateway and its engine under a user id without an account: `make test-engines` runs this, `make test` does not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.vllm.conftest import ANSWER_S, MODEL, START_S, managed_models

UID = "12345"
UNDER_UID = ("unshare", "--user", f"--map-user={UID}", f"--map-group={UID}", "--")
"""in a user namespace, so that this user's files stay readable"""
NAMELESS = ("env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME", "-u", "XDG_CACHE_HOME", "-u", "XDG_RUNTIME_DIR")

pytestmark = pytest.mark.engines


def can_map_users() -> bool:
    try:
        return subprocess.run([*UNDER_UID, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_map_users(), reason="user namespaces are not allowed here")
def test_an_engine_starts_under_a_random_user_id(tmp_path: Path) -> None:
    """Without /etc/passwd, HOME and USER nothing knows the user's name, which torch asks for."""
    with Gateway({"models": managed_models()}, tmp_path, before=(*UNDER_UID, *NAMELESS)) as gateway:
        gateway.wait_for_ready(START_S)
        body = {"model": MODEL, "max_tokens": 12, "temperature": 0}
        body["messages"] = [{"role": "user", "content": "What is the capital of France?"}]
        answer = gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S)
        assert "Paris" in answer.text
        assert f"USER=uid-{UID}" in gateway.output
        assert (tmp_path / "state" / "home" / ".cache").is_dir(), "what vLLM keeps has a place"
