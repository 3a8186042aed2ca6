from __future__ import annotations

import asyncio
import json
import shlex
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from router.config.models import Config
from router.types import LoadReport, ModelStatus
from server.processes import banner
from tests.support.fakes import config, large, model

CONFIG = config(model(), large())
URL = "http://127.0.0.1:8000"
LIMIT = 64 * 2**20
KEYS = pytest.mark.parametrize("keys", [False, True])


def status(up: int, detail: str = "") -> list[ModelStatus]:
    return [ModelStatus("slm", 1, up, 0, 0, detail), ModelStatus("llm", 1, up, 0, 0)]


@KEYS
def test_the_curl_line_works_as_printed(keys: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    line = next(
        line
        for line in banner.banner_text(CONFIG, URL, keys=keys, max_body_bytes=LIMIT).splitlines()
        if line.strip().startswith("curl")
    )
    words = shlex.split(line)
    assert words[:3] == ["curl", "-s", f"{URL}/v1/chat/completions"]
    options = list(zip(words[3::2], words[4::2], strict=True))
    assert ("-H", "Content-Type: application/json") in options
    assert (("-H", "Authorization: Bearer $SMALLFIRST_KEY") in options) == keys
    body = json.loads(dict(options)["-d"])
    assert body["model"] == "auto"
    assert body["messages"][0]["role"] == "user"


@KEYS
def test_the_three_lines_of_python_work_as_printed(
    keys: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}

    class OpenAI:
        def __init__(self, **kwargs: Any) -> None:
            seen.update(kwargs)
            self.chat = SimpleNamespace(completions=self)

        def create(self, **kwargs: Any) -> Any:
            seen.update(kwargs)
            message = SimpleNamespace(content="Paris.")
            return SimpleNamespace(choices=[SimpleNamespace(message=message)])

    monkeypatch.setitem(sys.modules, "openai", SimpleNamespace(OpenAI=OpenAI))
    monkeypatch.setenv("SMALLFIRST_KEY", "key-1")
    code = banner.banner_text(CONFIG, URL, keys=keys, max_body_bytes=LIMIT).strip().splitlines()[-3:]
    exec("\n".join(code), {})
    assert capsys.readouterr().out == "Paris.\n"
    assert seen["base_url"] == f"{URL}/v1"
    assert seen["api_key"] == ("key-1" if keys else "none")
    assert seen["model"] == "auto"


def test_no_key_is_printed_only_its_name() -> None:
    assert "SMALLFIRST_KEY" in banner.banner_text(CONFIG, URL, keys=True, max_body_bytes=LIMIT)
    assert "SMALLFIRST_KEY" not in banner.banner_text(CONFIG, URL, keys=False, max_body_bytes=LIMIT)


def test_without_routes_a_model_is_named() -> None:
    assert '"model": "slm"' in banner.banner_text(
        Config({"slm": model()}, {}, {}), URL, keys=False, max_body_bytes=LIMIT
    )


def test_the_limit_on_images_is_said_if_a_model_takes_them() -> None:
    seeing = config(model(), large(abilities=frozenset({"image"})))
    assert "may have 64 MiB: --max-body-bytes" in banner.banner_text(seeing, URL, keys=False, max_body_bytes=LIMIT)
    assert "MiB" not in banner.banner_text(CONFIG, URL, keys=False, max_body_bytes=LIMIT)


async def test_waits_until_a_route_can_answer_and_says_what_cannot_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [status(0), status(0), [ModelStatus("slm", 1, 0, 0, 0, "slm loads"), ModelStatus("llm", 1, 1, 0, 0)]]
    shown: list[str] = []
    asked = 0

    def statuses() -> list[ModelStatus]:
        nonlocal asked
        asked += 1
        assert not shown
        return answers[min(asked, len(answers)) - 1]

    monkeypatch.setattr(banner, "READY_POLL_S", 0)
    async with asyncio.timeout(5):
        await banner.announce_when_ready(CONFIG, statuses, URL, keys=False, max_body_bytes=LIMIT, show=shown.append)
    assert asked > 2
    assert len(shown) == 1
    assert "smallfirst is ready" in shown[0]
    assert "not yet: slm loads" in shown[0]


async def test_a_model_that_is_loaded_on_demand_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    load = LoadReport("unloaded", may_wait=True, waiting=0, loads=0, unloads={})
    statuses = [ModelStatus("slm", 1, 0, 0, 0, "not loaded", load=load), ModelStatus("llm", 1, 0, 0, 0, "llm loads")]
    shown: list[str] = []
    async with asyncio.timeout(5):
        await banner.announce_when_ready(
            CONFIG, lambda: statuses, URL, keys=False, max_body_bytes=LIMIT, show=shown.append
        )
    assert "not yet: llm loads" in shown[0]
    assert "not loaded" not in shown[0]
