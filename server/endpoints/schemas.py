"""OpenAI's request types: the fields that are validated and shown in /docs. All other fields are forwarded.

As with OpenAI, null means unset for every optional field. Rules that involve several fields are in `decode` and in each
endpoint's file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Tag
from pydantic_core import PydanticCustomError

from router.messages.words import one_of
from router.policy import POLICIES
from router.types import MAX_TOKEN_COUNT

# The tags of a union are used in its error message: "expected a string or an array of strings, but got ...".
TAGS = frozenset(
    {
        "a string",
        "an object",
        "a boolean",
        "an array of strings",
        "an array of integers",
        "an array of arrays of integers",
        "an array of content parts",
    }
)
_Text = Annotated[str, Tag("a string")]
_Named = Annotated[str, Field(min_length=1, max_length=256)]
_Id = Annotated[str, Field(min_length=1)]  # some servers put a whole thought signature into the id of a call
_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Bias = Annotated[float, Field(ge=-100, le=100)]
_Count = Annotated[int, Field(ge=0, le=MAX_TOKEN_COUNT)]
_Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
_Stop = _Text | Annotated[list[str], Field(max_length=4, fail_fast=True), Tag("an array of strings")]
_Schema = _Text | Annotated[dict[str, Any], Tag("an object")] | Annotated[bool, Tag("a boolean")]
_Choices = Annotated[list[str], Field(fail_fast=True)]
_Tokens = Annotated[list[int], Field(min_length=1, fail_fast=True)]


def _known_policy(value: object) -> object:
    if not isinstance(value, str) or value not in POLICIES:
        raise PydanticCustomError("literal_error", "unknown policy", {"expected": one_of(POLICIES)})
    return value


def _list_policies(schema: dict[str, Any]) -> None:
    schema["enum"] = list(POLICIES)


_Policy = Annotated[str, BeforeValidator(_known_policy), Field(json_schema_extra=_list_policies)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, hide_input_in_errors=True)


class ContentPart(_Wire):
    """A part of a message: text, image_url, input_audio, file, or another type that the upstream supports."""

    type: _Named


class FunctionCall(_Wire):
    """The function that the model called; `arguments` is JSON as text."""

    name: _Named
    arguments: str


class ToolCall(_Wire):
    """A tool call from an earlier answer of the model."""

    id: _Id
    type: Literal["function"]
    function: FunctionCall


class Message(_Wire):
    """One message of the conversation."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: _Text | Annotated[list[ContentPart], Field(fail_fast=True), Tag("an array of content parts")] | None = None
    name: str | None = None
    tool_call_id: _Id | None = Field(None, description="The id of the call that a `tool` message answers.")
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = Field(None, description="OpenAI's older field for `tool_calls`.")


class FunctionDefinition(_Wire):
    """A function that the model may call; `parameters` is a JSON schema."""

    name: _Named
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Wire):
    """A tool that the model may call."""

    type: Literal["function"]
    function: FunctionDefinition


class JsonSchema(_Wire):
    """The schema that an answer must satisfy."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class Structure(_Wire):
    """A part of an answer between two markers; its content must satisfy the schema."""

    begin: str
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    end: str


class ResponseFormat(_Wire):
    """The format of the answer. Every answer is verified; an invalid one ends in an error."""

    type: str = Field(description="`text`, `json_object`, `json_schema`, `structural_tag`, or another server's word.")
    json_schema: JsonSchema | None = None
    structures: Annotated[list[Structure], Field(fail_fast=True)] | None = None
    triggers: Annotated[list[str], Field(fail_fast=True)] | None = None


class StructuredOutputs(_Wire):
    """vLLM's parameter for the format of the answer. Exactly one of the first six fields must be set."""

    json_: _Schema | None = Field(None, alias="json")
    regex: str | None = None
    choice: _Choices | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: _Text | Annotated[dict[str, Any], Tag("an object")] | None = None
    whitespace_pattern: str | None = None
    disable_any_whitespace: bool | None = None
    disable_additional_properties: bool | None = None


class StreamOptions(_Wire):
    """Options of a stream."""

    include_usage: bool | None = Field(
        None, description="Send one more event at the end of the stream, with the token usage."
    )


class Routing(BaseModel):
    """smallfirst's own options: how this one request is routed."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    policy: _Policy | None = Field(
        None, description="The policy for this request. It replaces the policy of the route."
    )
    max_cost_usd: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        None,
        description="The most that this request may cost, in US dollars. Models that could cost more are not asked.",
    )
    min_confidence: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="The probability, from 0 to 1, that an answer must have of being as good as the fallback's. "
        "An answer with a lower one is rejected, and the next rung is asked.",
    )
    task: _Named | None = Field(
        None,
        description="Your own name for requests of the same kind, such as `classify-tickets`. The evidence for a "
        "learned policy is kept per task. If omitted, the gateway recognises the task from the prompt.",
    )
    hold: Literal["first", "whole", "none"] | None = Field(
        None,
        description="How much of a stream is held back until its confidence is judged. `first`: its first tokens. "
        "`whole`: the whole answer. `none`: nothing, so the answer is not judged. It only affects policies that use "
        "confidence.",
    )
    allow_fallback: bool | None = Field(None, description="If false, the last rung of the route is never asked.")
    deadline_ms: Annotated[int, Field(ge=1, le=86_400_000)] | None = Field(
        None, description="The time limit for the whole request, in milliseconds."
    )
    stream_check: Literal["hold", "prefix"] | None = Field(
        None,
        description="How a stream in a required format is sent if decoding does not enforce the format. `hold`: after "
        "the whole answer is verified. `prefix`: at once, as long as it can still become valid; otherwise it ends with "
        "an error event.",
    )
    clamp_max_tokens: bool | None = Field(
        None,
        description="If false, a `max_tokens` that does not fit into the model's context beside the prompt is refused. "
        "By default it is lowered to the room that is left, and `x-smallfirst-adapted` says so.",
    )
    on_truncation: Literal["accept", "retry"] | None = Field(
        None,
        description="What happens to a formatted answer that the token limit cut. `accept`: it is sent, with "
        "`finish_reason: length`. `retry`: it is requested again with a higher token limit, then from the next rung. "
        "An answer that was cut within its thoughts is requested again, too, unless this is `accept`.",
    )
    midstream: Literal["continue", "error"] | None = Field(
        None,
        description="What happens to a stream that breaks off after its beginning. `continue` (the default): another "
        "replica, or the next model that can, goes on from there. `error`: it ends with an error event.",
    )


class ModelRequest(_Wire):
    """What every request to a model has."""

    model: _Named = Field(description="The name of a route, such as `auto`, or of a model.", examples=["auto"])
    routing: Routing | None = None


class _Sampling(_Wire):
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = Field(None, description="The number of answers to generate.")
    stop: _Stop | None = Field(None, description="Up to four texts. The answer ends where one of them occurs.")
    seed: _Int64 | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[str, _Bias] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: _Schema | None = Field(None, description="An older name for `structured_outputs.json`.")
    guided_regex: str | None = Field(None, description="An older name for `structured_outputs.regex`.")
    guided_choice: _Choices | None = Field(None, description="An older name for `structured_outputs.choice`.")
    guided_grammar: str | None = Field(None, description="An older name for `structured_outputs.grammar`.")
    guided_decoding_backend: str | None = None
    guided_whitespace_pattern: str | None = None


class ChatRequest(_Sampling, ModelRequest):
    """POST /v1/chat/completions. All other fields of OpenAI and vLLM are forwarded unchanged."""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)] = Field(
        examples=[[{"role": "user", "content": "What is the capital of France?"}]]
    )
    max_completion_tokens: _Count | None = Field(
        None, description="The limit on generated tokens. It takes precedence over `max_tokens`."
    )
    max_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="The number of likeliest tokens to return at each position. It requires `logprobs: true`."
    )
    tools: Annotated[list[Tool], Field(fail_fast=True)] | None = None
    tool_choice: _Text | Annotated[dict[str, Any], Tag("an object")] | None = Field(
        None, description="`none`, `auto`, `required`, or an object that names one function.", examples=["auto"]
    )
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[FunctionDefinition], Field(fail_fast=True)] | None = Field(
        None, description="OpenAI's older parameter for `tools`."
    )
    function_call: _Text | Annotated[dict[str, Any], Tag("an object")] | None = Field(
        None, description="`none`, `auto`, or an object that names one function.", examples=["auto"]
    )


class CompletionRequest(_Sampling, ModelRequest):
    """POST /v1/completions. All other fields of OpenAI and vLLM are forwarded unchanged."""

    prompt: (
        Annotated[str, Field(min_length=1), Tag("a string")]
        | Annotated[list[str], Field(min_length=1, fail_fast=True), Tag("an array of strings")]
        | Annotated[_Tokens, Tag("an array of integers")]
        | Annotated[list[_Tokens], Field(min_length=1, fail_fast=True), Tag("an array of arrays of integers")]
    ) = Field(examples=["The capital of France is"])
    max_tokens: _Count | None = Field(
        None, description="The limit on generated tokens. With 0 and `echo`, only the prompt is evaluated."
    )
    suffix: str | None = Field(None, description="The text after the answer, for models that fill in what is between.")
    best_of: Annotated[int, Field(ge=0, le=20)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
