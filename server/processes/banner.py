"""The text that is printed when the server is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from router.config.models import Config
from router.types import ModelStatus
from server.endpoints.health import readiness

READY_POLL_S = 0.25


async def announce_when_ready(
    config: Config,
    statuses: Callable[[], list[ModelStatus]],
    url: str,
    *,
    keys: bool,
    max_body_bytes: int,
    show: Callable[[str], None],
) -> None:
    """Wait until a route can answer, then print how to call it."""
    while True:
        state, _ = readiness(config, statuses())
        if state != "unavailable":
            break
        await asyncio.sleep(READY_POLL_S)
    waiting = [f"  not yet: {status.detail}" for status in statuses() if status.up < status.expected and status.detail]
    show("\n".join([banner_text(config, url, keys=keys, max_body_bytes=max_body_bytes), *waiting]))


def banner_text(config: Config, url: str, *, keys: bool, max_body_bytes: int) -> str:
    """Return the URL, a `curl` line and three lines of Python. Both work as printed."""
    images = any("image" in model.abilities for model in config.models.values())
    limit = f"{max_body_bytes / 2**20:,.4g} MiB"
    size = f"\n  (a request with its images may have {limit}: --max-body-bytes)" if images else ""
    model = next(iter(config.routes or config.models))
    header = ' -H "Authorization: Bearer $SMALLFIRST_KEY"' if keys else ""
    key = "os.environ['SMALLFIRST_KEY']" if keys else '"none"'
    imports = "import os; from openai import OpenAI" if keys else "from openai import OpenAI"
    note = "\n  (SMALLFIRST_KEY: one of the keys in SMALLFIRST_API_KEYS)" if keys else ""
    messages = '[{"role": "user", "content": "What is the capital of France?"}]'
    question = f'"model": "{model}", "temperature": 0, "messages": {messages}'
    return f"""
smallfirst is ready at {url}/v1   (documentation: {url}/docs){note}{size}

  curl -s {url}/v1/chat/completions{header} -H "Content-Type: application/json" -d '{{{question}}}'

and from Python (.venv/bin/python has the package `openai`):

{imports}
client = OpenAI(base_url="{url}/v1", api_key={key})
print(client.chat.completions.create(**{{{question}}}).choices[0].message.content)
"""
