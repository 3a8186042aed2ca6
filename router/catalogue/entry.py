"""The types of `catalogue.yaml`. They are frozen and reject unexpected keys."""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from router.yaml.entry import Entry, as_tuple

Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(as_tuple)]
Dimensions = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(as_tuple)]
Thinking = Literal["never", "always", "on", "off"]
"""whether a model writes its thoughts before its answer; `on` and `off`: a request can change the default"""


class Licence(Entry):
    """What may be done with the weights."""

    name: str
    commercial: Literal["allowed", "conditional", "forbidden"]
    conditions: str = ""
    """what commercial use depends on, or what use is left"""

    @model_validator(mode="after")
    def _conditions_are_said(self) -> Licence:
        if (self.commercial == "allowed") == bool(self.conditions):
            raise ValueError("expected `conditions` exactly if commercial use is conditional or forbidden")
        return self

    @property
    def words(self) -> str:
        """Return in plain words whether commercial use is allowed."""
        match self.commercial:
            case "allowed":
                return "yes"
            case "conditional":
                return f"yes, {self.conditions}"
        return f"no: {self.conditions}"


class Attention(Entry):
    """Attention layers of one kind that have a KV cache of their own."""

    layers: int = Field(ge=1)
    kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=1)
    """the mean of keys and values where these differ"""
    window: int | None = Field(None, ge=1)
    """the number of tokens that a sliding window keeps; the default is all of them"""


class State(Entry):
    """Layers that keep a state of fixed size for each sequence instead of a KV cache."""

    layers: int = Field(ge=1)
    recurrent: Dimensions = ()
    """the dimensions of a layer's recurrent state: heads, head size, state size"""
    conv: Dimensions = ()
    """the dimensions of a layer's convolution state: channels, kernel size - 1"""

    @property
    def recurrent_values(self) -> int:
        """Return the number of recurrent values of all layers."""
        return self.layers * math.prod(self.recurrent) if self.recurrent else 0

    @property
    def conv_values(self) -> int:
        """Return the number of convolution values of all layers."""
        return self.layers * math.prod(self.conv) if self.conv else 0


class CatalogueEntry(Entry):
    """One model of the catalogue."""

    name: str
    family: str
    hub_id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    engine: str = "vllm"
    own_code: bool = False
    """whether the model needs the Python code of its own repository, which the user must allow to run"""
    architecture: str
    """the class that serves it: vLLM's, or that of its own code"""
    parameters: int = Field(ge=1)
    """the number of weights that are loaded"""
    embedding_parameters: int = Field(ge=0)
    """those among them of the embeddings and of the output layer, which stay in 16 bits when the rest is quantized"""
    licence: Licence
    context: int = Field(ge=1)
    """the most tokens that the model takes, as its card says"""
    attention: Annotated[tuple[Attention, ...], BeforeValidator(as_tuple)] = Field(min_length=1)
    state: State | None = None
    tools: Literal["parsed", "in text", "untrained"]
    """`parsed`: vLLM's tool parser recognises the model's calls; `in text`: they arrive as text, and the gateway
    recognises them; `untrained`: the model was not trained to call tools"""
    tool_parser: str | None = None
    thinking: Thinking = "never"
    reasoning_parser: str | None = None
    chat_template: str | None = None
    """a file of this package's `templates`; the default is the model's own template"""
    vllm_args: dict[str, Any] = Field(default_factory=dict)
    """further options for vLLM"""
    sampling: dict[str, int | float] = Field(default_factory=dict)
    """what the model's card recommends, where its generation_config.json does not already say it"""
    notes: Texts = ()
    sources: Texts = Field(min_length=1)
    """where the facts are from; the first is the model's card"""
    as_of: date
    unverified: Texts = ()
    """the names of facts for which no source was found"""

    @property
    def calls_tools(self) -> bool:
        """Return whether requests with tools should go to the model."""
        return self.tools != "untrained"

    @model_validator(mode="after")
    def _parsers_fit(self) -> CatalogueEntry:
        if self.tools == "untrained" and self.tool_parser:
            raise ValueError("expected no `tool_parser` for a model that was not trained to call tools")
        if self.engine == "vllm" and self.calls_tools and not self.tool_parser:
            raise ValueError("expected a `tool_parser`: without one, vLLM refuses requests with tools")
        if self.thinking == "never" and self.reasoning_parser:
            raise ValueError("expected no `reasoning_parser` for a model that never thinks")
        if unknown := set(self.unverified) - set(CatalogueEntry.model_fields):
            raise ValueError(f"unverified: expected names of facts, got {', '.join(sorted(unknown))}")
        return self
