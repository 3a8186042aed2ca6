"""POST /v1/completions, as the router knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from router.messages.answer import parse_whole
from router.types import Ability, Endpoint


class Completions(Endpoint):
    """Plain text that is continued; one request may have several prompts."""

    path = "completions"
    prompt_field = "prompt"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"completions"})
    logprobs_fields: ClassVar[Mapping[str, Any]] = {"logprobs": 1}
    unread_choice_fields = frozenset({"message", "delta"})

    def prompts(self, body: Mapping[str, Any]) -> int:
        """Return how many prompts there are; a list of token ids is one."""
        prompt = body.get("prompt")
        return len(prompt) if isinstance(prompt, list) and not isinstance(prompt[0], int) else 1

    def generated(self, body: Mapping[str, Any]) -> int:
        """Return how many answers to each prompt are generated: of `best_of` only the best come back."""
        return max(body.get("n") or 1, body.get("best_of") or 1)

    def parse(self, answer: bytes, choices: int) -> dict[str, Any]:
        """Return a whole answer."""
        return parse_whole(answer, choices)


COMPLETIONS = Completions()
