"""The endpoint POST /v1/completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from router.messages.answer import parse_whole
from router.types import Ability, Endpoint


class Completions(Endpoint):
    """Continues plain text. One request may have several prompts."""

    path = "completions"
    prompt_field = "prompt"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"completions"})
    logprobs_fields: ClassVar[Mapping[str, Any]] = {"logprobs": 1}
    unread_choice_fields = frozenset({"message", "delta"})

    def prompts(self, body: Mapping[str, Any]) -> int:
        """Return the number of prompts. A list of token ids is one prompt."""
        prompt = body.get("prompt")
        return len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1

    def generated(self, body: Mapping[str, Any]) -> int:
        """Return the number of answers generated per prompt. With `best_of` only the best of them are returned."""
        return max(body.get("n") or 1, body.get("best_of") or 1)

    def parse(self, answer: bytes, choices: int) -> dict[str, Any]:
        """Parse a whole answer."""
        return parse_whole(answer, choices)


COMPLETIONS = Completions()
