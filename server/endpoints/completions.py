"""POST /v1/completions: the rules that involve several fields of its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.errors import BadRequest
from router.messages.completions import COMPLETIONS
from router.structured.request.output_format import format_fields
from server.endpoints.registry import TextEndpoint, register
from server.endpoints.schemas import CompletionRequest


def _completion_rules(body: Mapping[str, Any]) -> None:
    best_of, n = body.get("best_of"), body.get("n") or 1
    if best_of and best_of < n:
        raise BadRequest(f"Invalid 'best_of': expected a value >= 'n' ({n}), but got {best_of}.", param="best_of")
    if body.get("echo") is True and (formats := format_fields(body)):
        raise BadRequest(f"'echo' cannot be used with '{formats[0]}'.", param="echo")


COMPLETIONS_ENDPOINT = register(TextEndpoint(COMPLETIONS, CompletionRequest, "Create a completion", _completion_rules))
