"""The dialect of our own server for transformers models: vLLM's, with fewer fields and one request at a time."""

from __future__ import annotations

from typing import ClassVar

from router.config.models import Model
from router.types import Ability, ChatCall
from router.upstream.dialects import register
from router.upstream.dialects.vllm import VllmDialect

FIELDS = frozenset(
    {
        "chat_template_kwargs",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "min_p",
        "model",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "repetition_penalty",
        "response_format",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "structured_outputs",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)
"""the fields that `router.engine.transformers_server` reads"""
LIMITS = (
    "one request at a time for each replica; others wait",
    "no tool parser: optional calls are read from the text",
    "no prompt cache",
    "no /v1/completions",
)


@register
class TransformersDialect(VllmDialect):
    """A model of the library transformers, served by smallfirst itself."""

    name = "transformers"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"tools", "structured", "logprobs"})
    can_be_attached = False
    has_structured_backend = False  # it is always guidance
    arguments_key = "transformers_args"

    def limits(self, model: Model) -> tuple[str, ...]:
        """Return the engine's limits, and whether the model's own code runs."""
        return (*LIMITS, "runs the model's own code") if model.transformers_args.trust_remote_code else LIMITS

    def body(self, call: ChatCall, model: Model) -> tuple[bytes, tuple[str, ...]]:
        """Return the body without the fields that the server does not read, and their names."""
        dropped = tuple(sorted(call.fields.keys() - FIELDS))
        return super().body(call.replaced(dict.fromkeys(dropped)), model)[0], dropped
