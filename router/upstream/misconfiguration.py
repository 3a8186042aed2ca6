"""Refusals that are the operator's to mend: a client did nothing wrong, and another model can answer. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from router.errors import Misconfiguration

_ACCOUNT_CODES = re.compile(
    r"insufficient_(?:quota|balance|funds|credit)|billing|payment_required|account_", re.IGNORECASE
)
_ACCOUNT_WORDS = re.compile(
    r"insufficient (?:balance|quota|funds|credit)|(?:exceeded|out of) your (?:current )?(?:quota|credit)|"
    r"credit balance|billing|top up",
    re.IGNORECASE,
)
_MODEL_CODES = re.compile(r"model_not_found|deploymentnotfound|unknown_model|invalid_model", re.IGNORECASE)
_TOOL_PARSER = re.compile(r"enable-auto-tool-choice|tool.?call.?parser|--jinja", re.IGNORECASE)
_CHAT_TEMPLATE = re.compile(r"chat.?template", re.IGNORECASE)


def misconfiguration(status: int, error: Mapping[str, Any]) -> Misconfiguration | None:
    """Return what the operator must mend, or None if it is something else."""
    code = f"{error.get('code')} {error.get('type')}"
    message = str(error.get("message") or "")
    if status in (401, 403):
        return "key"
    if status == 402 or _ACCOUNT_CODES.search(code) or (status in (400, 429) and _ACCOUNT_WORDS.search(message)):
        return "account"
    if status == 404 or _MODEL_CODES.search(code):
        return "model_name"
    if status in (400, 422, 500, 501):
        if _TOOL_PARSER.search(message):
            return "tool_parser"
        if _CHAT_TEMPLATE.search(message):
            return "chat_template"
    return None
