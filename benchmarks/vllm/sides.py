"""The two ways to the same model: straight to vLLM, and through the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

Name = Literal["direct", "gateway"]
TIMEOUT_S = 10.0


class NotThere(Exception):
    """Somebody who should answer does not, or not as expected."""


@dataclass(frozen=True, slots=True)
class Side:
    """Where requests go. `roots` are `http://host:port` or `unix:/path`, each a server of the same model."""

    name: Name
    roots: tuple[str, ...]
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pids: tuple[int, ...] = ()
    """the gateway's processes, where their CPU time can be read"""
    tree: int | None = None
    """the process below which the gateway and its vLLM run, where they are ours"""

    def urls(self) -> list[str]:
        """Return the addresses of the chat endpoint."""
        return [address(root, "/v1/chat/completions") for root in self.roots]


def address(root: str, path: str) -> str:
    """Return the URL of a path, as the load client takes it."""
    return f"{root}:{path}" if root.startswith("unix:") else root + path


def normal_root(url: str) -> str:
    """Return a server's root without a trailing `/` or `/v1`.

    Raises:
        ValueError: it is neither `http://host..` nor `unix:/path`.
    """
    root = url.rstrip("/").removesuffix("/v1")
    if not root.startswith(("http://", "unix:/")):
        raise ValueError(f"expected http://host:port or unix:/path, got {url!r}")
    return root


async def get(root: str, path: str, headers: Mapping[str, str] = {}) -> aiohttp.ClientResponse:
    """Return the answer to a GET, read to its end.

    Raises:
        NotThere: nobody answers.
    """
    socket = root.removeprefix("unix:") if root.startswith("unix:") else ""
    connector = aiohttp.UnixConnector(socket) if socket else aiohttp.TCPConnector()
    url = f"http://localhost{path}" if socket else root + path
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url, headers=headers) as answer,
        ):
            await answer.read()
            return answer
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise NotThere(f"{address(root, path)} does not answer: {error!r}") from None


async def served_models(root: str, headers: Mapping[str, str] = {}) -> list[str]:
    """Return the names of the models that a server lists.

    Raises:
        NotThere: it lists none.
    """
    answer = await get(root, "/v1/models", headers)
    if answer.status != 200:
        raise NotThere(f"{address(root, '/v1/models')} answers with status {answer.status}")
    try:
        body: Any = await answer.json(content_type=None)
        return [str(entry["id"]) for entry in body["data"]]
    except (ValueError, TypeError, KeyError):
        raise NotThere(f"{address(root, '/v1/models')} is not a list of models") from None


async def serving(roots: Iterable[str], model: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the model, by default the first that is served, and those of the roots that serve it.

    Raises:
        NotThere: nobody serves it.
    """
    known = {root: await served_models(root) for root in roots}
    names = [name for served in known.values() for name in served]
    wanted = model or (names[0] if names else "a model")
    found = tuple(root for root, served in known.items() if wanted in served)
    if not found:
        raise NotThere(f"no vLLM serves {wanted}; served: {', '.join(names) or 'nothing'}")
    return wanted, found
