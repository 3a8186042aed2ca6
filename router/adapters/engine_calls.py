"""vLLM's two calls for adapters, on its private socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from router.engine.socket_request import sent, status_of
from router.errors import EngineError

CALL_TIMEOUT_S = 120.0
ALREADY_LOADED = "already been loaded"  # the answer to an earlier call was lost


class AdapterRefused(EngineError):
    """vLLM does not take the adapter. The message is vLLM's."""


async def load_adapter(socket: Path, name: str, folder: Path) -> None:
    """Load an adapter from a folder under a new name.

    Raises:
        AdapterRefused: vLLM does not take it.
        EngineError: vLLM did not answer.
    """
    status, message = await _post(socket, "load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
    if status != 200 and ALREADY_LOADED not in message:
        raise AdapterRefused(message)


async def unload_adapter(socket: Path, name: str) -> None:
    """Remove a name. Requests that have begun go on. Nothing happens if the name is not there.

    Raises:
        EngineError: vLLM did not answer.
    """
    await _post(socket, "unload_lora_adapter", {"lora_name": name})


async def _post(socket: Path, call: str, fields: Mapping[str, str]) -> tuple[int, str]:
    """Return the status and the message of the answer."""
    body = json.dumps(fields).encode()
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S), sent(socket, f"POST /v1/{call}", body) as reader:
            answer = await reader.read()
    except TimeoutError:
        raise EngineError(f"vLLM did not answer {call} in {CALL_TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise EngineError(f"vLLM did not answer {call}: {error.strerror or error}") from None
    head_of_answer, _, content = answer.partition(b"\r\n\r\n")
    if (status := status_of(head_of_answer)) is None:
        raise EngineError(f"vLLM did not answer {call}: it closed the connection")
    return status, error_message(content)


def error_message(content: bytes) -> str:
    """Return the message of one of vLLM's error bodies, or the beginning of what it is instead."""
    try:
        body = json.loads(content)
        message = (body.get("error") or body)["message"]
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        message = content.decode(errors="replace")
    return " ".join(str(message).split())[:500]
