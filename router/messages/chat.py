"""The endpoint POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from router.messages.answer import parse_whole
from router.types import Endpoint


class ChatCompletions(Endpoint):
    """Chat messages, optionally with tools."""

    path = "chat/completions"
    prompt_field = "messages"
    has_messages = True
    takes_tools = True
    # None removes `top_logprobs`: with a null, vLLM reports no logprobs at all
    logprobs_fields: ClassVar[Mapping[str, Any]] = {"logprobs": True, "top_logprobs": None}
    unread_choice_fields = frozenset({"text"})

    def max_tokens(self, body: Mapping[str, Any]) -> int | None:
        """Return the completion limit. The newer field wins if both are set."""
        newer = body.get("max_completion_tokens")
        return body.get("max_tokens") if newer is None else newer

    def parse(self, answer: bytes, choices: int) -> dict[str, Any]:
        """Parse a whole answer."""
        return parse_whole(answer, choices)


CHAT = ChatCompletions()
