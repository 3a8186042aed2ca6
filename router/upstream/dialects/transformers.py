"""The dialect of our own server for transformers models: vLLM's, with fewer fields and one request at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from router.config.models import Model
from router.types import Ability, ChatCall
from router.upstream.base import Dialect
from router.upstream.continuation import Beginning
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
LIMITS = ("no tool parser: optional calls are read from the text", "no prompt cache", "no /v1/completions")


@register
class TransformersDialect(VllmDialect):
    """A model of the library transformers, served by smallfirst itself."""

    name = "transformers"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"tools", "structured", "logprobs"})
    can_be_attached = False
    continues_messages = False
    tokenize_path = None
    loads_adapters = False
    has_structured_backend = False  # it is always guidance
    arguments_key = "transformers_args"
    has_one_slot = True

    def limits(self, model: Model) -> tuple[str, ...]:
        """Return the engine's limits, and whether the model's own code runs."""
        queue = f"one request at a time for each replica; others wait up to {max_wait_s(model):g} s"
        code = ("runs the model's own code",) if model.transformers_args.trust_remote_code else ()
        return (queue, *LIMITS, *code)

    def continuation(self, call: ChatCall, model: Model, beginning: Beginning) -> Mapping[str, Any] | None:
        """Write a plain trailing assistant message: the server has no field for it."""
        return Dialect.continuation(self, call, model, beginning)

    def body(self, call: ChatCall, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the body without the fields that the server does not read."""
        unknown = sorted(call.fields.keys() - FIELDS)
        body, _ = super().body(call.replaced(dict.fromkeys(unknown)), model)
        return body, tuple(f"{name}=dropped" for name in unknown)


def max_wait_s(model: Model) -> float:
    """Return how long the server lets a request wait for its turn before it refuses it as overloaded.

    It is less than `first_byte_s`: a timeout would count against the replica, although it only works on other requests.
    """
    return model.timeouts.first_byte_s / 2
