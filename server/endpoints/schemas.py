"""OpenAI's request types: what is checked here and shown in /docs. Fields not named here are kept and forwarded.

Null means unset for every optional field, as at OpenAI. Rules that tie fields together are in `decode` and in each
endpoint's file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Tag
from pydantic_core import PydanticCustomError

from router.policy import POLICIES

# A union's tags are the words of its error message: "expected a string or an array of strings, but got ...".
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
_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Bias = Annotated[float, Field(ge=-100, le=100)]
_Count = Annotated[int, Field(ge=1, le=2**31)]
_Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
_Stop = _Text | Annotated[list[str], Field(max_length=4, fail_fast=True), Tag("an array of strings")]
_Schema = _Text | Annotated[dict[str, Any], Tag("an object")] | Annotated[bool, Tag("a boolean")]
_Choices = Annotated[list[str], Field(fail_fast=True)]
_Tokens = Annotated[list[int], Field(min_length=1, fail_fast=True)]


def _known_policy(value: object) -> object:
    if not isinstance(value, str) or value not in POLICIES:
        *others, last = map(repr, POLICIES)
        raise PydanticCustomError("literal_error", "unknown policy", {"expected": f"{', '.join(others)} or {last}"})
    return value


def _list_policies(schema: dict[str, Any]) -> None:
    schema["enum"] = list(POLICIES)


_Policy = Annotated[str, BeforeValidator(_known_policy), Field(json_schema_extra=_list_policies)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, hide_input_in_errors=True)


class ContentPart(_Wire):
    """A part of a message: text, image_url, input_audio, file, or what an upstream knows beside them."""

    type: _Named


class FunctionCall(_Wire):
    """What the model called; `arguments` is JSON as text."""

    name: _Named
    arguments: str


class ToolCall(_Wire):
    """A call that the model made in an earlier answer."""

    id: _Named
    type: Literal["function"]
    function: FunctionCall


class Message(_Wire):
    """One message of the conversation."""

    role: Literal["developer", "system", "user", "assistant", "tool", "function"]
    content: _Text | Annotated[list[ContentPart], Field(fail_fast=True), Tag("an array of content parts")] | None = None
    name: str | None = None
    tool_call_id: _Named | None = Field(None, description="The call that a `tool` message answers.")
    tool_calls: list[ToolCall] | None = None


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

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class Structure(_Wire):
    """A part of an answer between two marks, in which a JSON schema holds."""

    begin: str
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    end: str


class ResponseFormat(_Wire):
    """The form of the answer. It is checked: an answer that breaks it never reaches the client."""

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: JsonSchema | None = None
    structures: Annotated[list[Structure], Field(fail_fast=True)] | None = None
    triggers: Annotated[list[str], Field(fail_fast=True)] | None = None


class StructuredOutputs(_Wire):
    """vLLM's name for the form of an answer; one of the first six."""

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

    include_usage: bool | None = Field(None, description="One more event at the end, with the usage.")


class Routing(BaseModel):
    """smallfirst's own: how this one call is routed."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    policy: _Policy | None = Field(None, description="Instead of the route's own policy.")
    max_cost_usd: Annotated[float, Field(gt=0, le=100_000)] | None = Field(None, description="Leave dearer models out.")
    min_confidence: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="The least probability that an answer is as good as the fallback's; else that one is asked."
    )
    task: _Named | None = Field(None, description="A name for what is asked again and again, instead of a guessed one.")
    hold: Literal["first", "whole", "none"] | None = Field(
        None,
        description="What a stream waits for where confidence decides: that of its first tokens, of all, or none.",
    )
    allow_fallback: bool | None = Field(None, description="False: the route's last rung may not answer.")
    deadline_ms: Annotated[int, Field(ge=1, le=86_400_000)] | None = Field(None, description="For the whole request.")
    stream_check: Literal["hold", "prefix"] | None = Field(
        None, description="A stream that must satisfy a form: held until verified, or sent while it still can."
    )
    on_truncation: Literal["accept", "retry"] | None = Field(
        None, description="An answer of a form that the token limit cut: passed on, or tried again with more room."
    )


class ModelRequest(_Wire):
    """What every request to a model has."""

    model: _Named = Field(description="A route (`auto`) or a model's name.", examples=["auto"])
    routing: Routing | None = None


class _Sampling(_Wire):
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = Field(None, description="How many answers.")
    stop: _Stop | None = Field(None, description="Up to four texts that end the answer.")
    seed: _Int64 | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[str, _Bias] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: _Schema | None = Field(None, description="Older names of vLLM's `structured_outputs`.")
    guided_regex: str | None = None
    guided_choice: _Choices | None = None
    guided_grammar: str | None = None
    guided_decoding_backend: str | None = None
    guided_whitespace_pattern: str | None = None


class ChatRequest(_Sampling, ModelRequest):
    """POST /v1/chat/completions. Other fields, OpenAI's and vLLM's own, are forwarded untouched."""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)] = Field(
        examples=[[{"role": "user", "content": "What is the capital of France?"}]]
    )
    max_completion_tokens: _Count | None = Field(None, description="Goes before `max_tokens`.")
    max_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(None, description="Needs `logprobs`.")
    tools: Annotated[list[Tool], Field(fail_fast=True)] | None = None
    tool_choice: _Text | Annotated[dict[str, Any], Tag("an object")] | None = Field(
        None, description="`none`, `auto`, `required`, or one function by name.", examples=["auto"]
    )
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[FunctionDefinition], Field(fail_fast=True)] | None = Field(
        None, description="OpenAI's older name for `tools`."
    )
    function_call: _Text | Annotated[dict[str, Any], Tag("an object")] | None = Field(
        None, description="`none`, `auto`, or one function by name.", examples=["auto"]
    )


class CompletionRequest(_Sampling, ModelRequest):
    """POST /v1/completions. Other fields, OpenAI's and vLLM's own, are forwarded untouched."""

    prompt: (
        Annotated[str, Field(min_length=1), Tag("a string")]
        | Annotated[list[str], Field(min_length=1, fail_fast=True), Tag("an array of strings")]
        | Annotated[_Tokens, Tag("an array of integers")]
        | Annotated[list[_Tokens], Field(min_length=1, fail_fast=True), Tag("an array of arrays of integers")]
    ) = Field(examples=["The capital of France is"])
    max_tokens: Annotated[int, Field(ge=0, le=2**31)] | None = Field(
        None, description="0, with `echo`: judge the prompt only."
    )
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
