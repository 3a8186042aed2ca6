"""What clients get, as types for the OpenAPI document. Answers of upstreams are forwarded, not built from these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from router.messages.finish_reason import FINISH_REASONS


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


def _list_finish_reasons(schema: dict[str, Any]) -> None:
    schema["enum"] = sorted(FINISH_REASONS)


class ErrorObject(_Answer):
    """An error. An upstream's refusal may have more fields, which are forwarded."""

    message: str
    type: str
    param: str | None = Field(description="The field of the request that is wrong.")
    code: str | None = Field(description="What went wrong, for programs. docs/operating.md lists the codes.")


class ErrorAnswer(BaseModel):
    """The body of every answer whose status is 400 or higher."""

    model_config = ConfigDict(extra="forbid")

    error: ErrorObject


class Usage(_Answer):
    """The tokens of a request, as its upstream counts them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Choice(_Answer):
    finish_reason: str = Field(json_schema_extra=_list_finish_reasons)


class ChatMessage(_Answer):
    """The message of the model; thoughts are in `reasoning_content`."""

    role: str | None = None
    content: str | None = None


class ChatChoice(_Choice):
    """One answer."""

    message: ChatMessage


class TextChoice(_Choice):
    """One answer."""

    text: str


class ChatCompletion(_Answer):
    """A whole answer. All fields of the upstream are forwarded."""

    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    choices: list[ChatChoice] = Field(min_length=1)
    usage: Usage | None = None


class Completion(_Answer):
    """A whole answer. All fields of the upstream are forwarded."""

    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    choices: list[TextChoice] = Field(min_length=1)
    usage: Usage | None = None


class Event(BaseModel):
    """An event of a stream."""

    event: Literal["message"] = "message"
    data: str = Field(
        description="`[DONE]` at the end; else JSON: a chunk as OpenAI has them, or an error, which ends the stream.",
    )


class ModelEntry(BaseModel):
    """A route or a model."""

    model_config = ConfigDict(extra="forbid")

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    parent: str = Field("", description="Only of a LoRA adapter: the model that it adapts.")


class ModelListing(BaseModel):
    """All routes and models."""

    model_config = ConfigDict(extra="forbid")

    object: Literal["list"]
    data: list[ModelEntry]


class Health(BaseModel):
    """The process lives."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["ok"]


class ModelReadiness(BaseModel):
    """The replicas of one model."""

    model_config = ConfigDict(extra="forbid")

    replicas: int
    up: int
    restarts: int
    load: Literal["unloaded", "loading", "loaded", "draining"] = Field(
        "loaded", description="Only of a model that is loaded on demand."
    )
    waiting: int = Field(0, description="The requests that wait until it is loaded.")
    detail: str = Field("", description="Why not all replicas are up.")
    learned: list[str] = Field([], description="How its upstream wants requests to be changed.")
    misconfigured: list[str] = Field([], description="What the operator of its upstream must mend.")
    limits: list[str] = Field([], description="What its server cannot do.")


class ReadinessAnswer(BaseModel):
    """Whether the routes can answer."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["ready", "degraded", "unavailable"]
    models: dict[str, ModelReadiness]
    left_out: list[str] = Field(description="Models whose API key is not set.")
