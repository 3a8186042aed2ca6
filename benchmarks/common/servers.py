"""The servers that are asked: their addresses, and which models they serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp

CHAT = "/v1/chat/completions"
TIMEOUT_S = 10.0


class NoAnswer(Exception):
    """A server does not answer, or not as expected."""


def address(root: str, path: str) -> str:
    """Return the URL of a path in the form that the load client takes."""
    return f"{root}:{path}" if root.startswith("unix:") else root + path


def normal_root(url: str) -> str:
    """Return the root of a server without a trailing `/` or `/v1`.

    Raises:
        ValueError: it is neither `http://host..` nor `unix:/path`.
    """
    root = url.rstrip("/").removesuffix("/v1")
    if not root.startswith(("http://", "unix:/")):
        raise ValueError(f"expected http://host:port or unix:/path, got {url!r}")
    return root


def connector_and_url(root: str, path: str, *, limit: int = 100) -> tuple[aiohttp.BaseConnector, str]:
    """Return the aiohttp connector for a server, with at most `limit` connections (0: any), and the URL of a path."""
    if root.startswith("unix:"):
        return aiohttp.UnixConnector(root.removeprefix("unix:"), limit=limit), f"http://localhost{path}"
    return aiohttp.TCPConnector(limit=limit), root + path


async def get(root: str, path: str, headers: Mapping[str, str] = {}) -> aiohttp.ClientResponse:
    """Return the response to a GET, with its body read.

    Raises:
        NoAnswer: there is none.
    """
    connector, url = connector_and_url(root, path)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url, headers=headers) as answer,
        ):
            await answer.read()
            return answer
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise NoAnswer(f"{address(root, path)} does not answer: {error!r}") from None


async def served_models(root: str, headers: Mapping[str, str] = {}) -> list[str]:
    """Return the names of the models that a server lists.

    Raises:
        NoAnswer: it does not list them.
    """
    answer = await get(root, "/v1/models", headers)
    if answer.status != 200:
        raise NoAnswer(f"{address(root, '/v1/models')} answers with status {answer.status}")
    try:
        body: Any = await answer.json(content_type=None)
        return [str(entry["id"]) for entry in body["data"]]
    except (ValueError, TypeError, KeyError):
        raise NoAnswer(f"{address(root, '/v1/models')} is not a list of models") from None


async def serving(roots: Iterable[str], model: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the model, by default the first that is served, and the roots of the servers that serve it.

    Raises:
        NoAnswer: no server serves it.
    """
    known = {root: await served_models(root) for root in roots}
    names = [name for served in known.values() for name in served]
    wanted = model or (names[0] if names else "a model")
    found = tuple(root for root, served in known.items() if wanted in served)
    if not found:
        raise NoAnswer(f"no vLLM serves {wanted}; served: {', '.join(names) or 'nothing'}")
    return wanted, found
