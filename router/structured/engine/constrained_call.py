"""Write a constrained call for one model: in the fields of its engine, and in the prompt if decoding enforces less.

How much decoding enforces depends on its backend. The prompt asks for the rest, and every answer is checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from router.config.models import Model
from router.errors import StructuredOutputViolation
from router.messages.token_limit import TOKEN_LIMITS
from router.structured.constraint import CallConstraint, Constraint, OutputFormat
from router.structured.request.output_format import FORMAT_FIELDS
from router.types import Backend, ChatCall, ConstraintKind, Enforcement

ALL_FORMAT_FIELDS = frozenset({*FORMAT_FIELDS, "guided_decoding_backend", "guided_whitespace_pattern"})
ROOM_FACTOR = 4
"""the token limit grows by this factor after a truncated answer"""
MAX_QUOTE_CHARS = 1_000
"""how much of an invalid answer the correction quotes"""
MIN_CHARS_PER_TOKEN = 3
"""a low estimate for schemas; a schema that fills the context would leave no room for the question"""


@dataclass(frozen=True, slots=True)
class Intent:
    """What an invalid answer was meant to be: text, or a call of one function. The retry requires just that."""

    constraint: Constraint
    tool_choice: Any


@dataclass(frozen=True, slots=True)
class RetryHints:
    """What earlier attempts of a request showed."""

    refused: bool = False
    """this model's engine refused the constraint, so decoding enforces none of it"""
    wrong: StructuredOutputViolation | None = None
    """the violation in this model's last answer"""
    room: int = 1
    """the factor by which the client's `max_tokens` is multiplied"""
    intent: Intent | None = None
    """what the answer was meant to be, if tool calls were optional"""
    may_repeat: bool = False
    """the engine stopped an answer for repeating itself, but it may have been a long list of equal numbers"""


class FormatRequest(NamedTuple):
    """An output format to be written in an engine's own fields."""

    output_format: OutputFormat
    body: Mapping[str, Any]
    """the body of the client's request"""
    backend: Backend | None
    """the backend that constrains decoding; None: unknown"""
    enforcement: Enforcement
    """how much of the format decoding enforces; never `none`"""


class ToolRequest(NamedTuple):
    """Required tool calls, to be written in an engine's own fields."""

    calls: CallConstraint
    tools: Sequence[Mapping[str, Any]]
    """as the client wrote them"""
    backend: Backend | None
    enforcement: Enforcement


class EngineFields(NamedTuple):
    """A dialect's translation of a constraint."""

    fields: Mapping[str, Any] = {}
    """fields of the body with their new values"""
    kept: Sequence[str] = ()
    """format fields that stay as the client wrote them; the others are removed"""
    in_words: bool = False
    """whether the prompt must describe the constraint, too"""


class FormatDialect(Protocol):
    """The part of a dialect that writes constraints."""

    decodes_format_beside_calls: bool
    """whether the engine can constrain a format and still let the model call tools"""

    def repetition_fields(self, tokens: int) -> Mapping[str, Any]:
        """Return the fields with which the engine stops an answer that repeats itself for so many tokens, if it can."""
        ...

    def can_stream(self, call: ChatCall) -> bool:
        """Return whether the engine streams the same answer to this call that it would give as a whole."""
        ...

    def format_fields(self, request: FormatRequest) -> EngineFields:
        """Write an output format in the fields of the engine."""
        ...

    def tool_fields(self, request: ToolRequest) -> EngineFields:
        """Write required tool calls in the fields of the engine."""
        ...


class Target(NamedTuple):
    """The model that the call is written for."""

    model: Model
    dialect: FormatDialect
    enforcement: Enforcement
    """how much of the constraint the model's decoding enforces"""


def constrain(call: ChatCall, constraint: Constraint, target: Target, hints: RetryHints) -> ChatCall:
    """Return the call in the form for this model.

    1. The format is written in the engine's own fields if decoding enforces it, wholly or in part.
    2. If decoding enforces only a part, the prompt describes the format, too.
    3. After an invalid answer, the prompt quotes the answer and its fault. After a truncated one, it may be longer.
    """
    changes: dict[str, Any] = dict.fromkeys(ALL_FORMAT_FIELDS.intersection(call.body))
    words = ""
    if hints.intent:
        constraint = hints.intent.constraint
    if constraint.output_format:
        engine, words = _format_fields(call, constraint, constraint.output_format, target)
        changes = {name: None for name in changes if name not in engine.kept} | dict(engine.fields)
    elif constraint.calls and constraint.calls.required:
        engine, words = _tool_fields(call, constraint.calls, target)
        changes |= engine.fields
    if hints.intent:
        changes["tool_choice"] = hints.intent.tool_choice
    if call.endpoint.has_messages and (words or hints.wrong):
        changes["messages"] = _corrected(_with_instruction(call.body["messages"], words, target.model), hints.wrong)
    if hints.room > 1 and call.max_tokens is not None:
        changes |= {name: call.max_tokens * hints.room for name in TOKEN_LIMITS if call.body.get(name) is not None}
    return call.replaced(changes) if changes else call


def _format_fields(
    call: ChatCall, constraint: Constraint, output_format: OutputFormat, target: Target
) -> tuple[EngineFields, str]:
    if target.enforcement == "none" or (constraint.calls and not target.dialect.decodes_format_beside_calls):
        words = _in_words(output_format)
        return (
            EngineFields(),
            f"Unless you call a function: {words[0].lower()}{words[1:]}" if constraint.calls else words,
        )
    request = FormatRequest(output_format, call.body, target.model.backend, target.enforcement)
    engine = target.dialect.format_fields(request)
    return engine, _in_words(output_format) if engine.in_words else ""


def _tool_fields(call: ChatCall, calls: CallConstraint, target: Target) -> tuple[EngineFields, str]:
    engine = target.dialect.tool_fields(
        ToolRequest(calls, call.body.get("tools") or (), target.model.backend, target.enforcement)
    )
    names = ", ".join(calls.tools)
    words = f"Answer with a call of one of these functions, and nothing else: {names}."
    return engine, words if engine.in_words else ""


def response_format(output_format: OutputFormat, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return OpenAI's `response_format` for a format that has a schema, or for any JSON object."""
    if output_format.kind == "json_object" and not schema:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", **output_format.about, "schema": schema}}


def _in_words(output_format: OutputFormat) -> str:
    schema, source = output_format.schema, output_format.source
    match output_format.kind:
        case "json_schema" if schema:
            return f"Answer with nothing but one JSON value that satisfies this JSON schema:\n{schema.text}"
        case "json_object":
            return "Answer with nothing but one JSON object."
        case "choice":
            choices = "\n".join(output_format.choices)
            return f"Answer with exactly one of these lines, and nothing else:\n{choices}"
        case "regex":
            return f"Answer with nothing but a text that this regular expression matches as a whole:\n{source}"
        case "grammar":
            return f"Answer with nothing but a text that this grammar derives:\n{source}"
    return ""


def _with_instruction(messages: list[Any], words: str, model: Model) -> list[Any]:
    """Append the instruction to the last user message, because some chat templates have no system message."""
    if not words or (model.context and len(words) / MIN_CHARS_PER_TOKEN > model.context / 2):
        return messages
    for at in range(len(messages) - 1, -1, -1):
        if messages[at]["role"] == "user":
            content = messages[at].get("content") or ""
            longer = (
                f"{content}\n\n{words}" if isinstance(content, str) else [*content, {"type": "text", "text": words}]
            )
            return [*messages[:at], {**messages[at], "content": longer}, *messages[at + 1 :]]
    return [{"role": "system", "content": words}, *messages]


def _corrected(messages: list[Any], wrong: StructuredOutputViolation | None) -> list[Any]:
    if wrong is None or not wrong.fault or messages[-1]["role"] == "assistant":  # the model would continue that message
        return messages
    return [
        *messages,
        {"role": "assistant", "content": wrong.answer[:MAX_QUOTE_CHARS] or "(no answer)"},
        {
            "role": "user",
            "content": f"That answer is not valid: {wrong.fault}. Answer again, with nothing but the corrected answer.",
        },
    ]


def intent_of(constraint: Constraint, choice: Mapping[str, Any], kind: ConstraintKind) -> Intent | None:
    """Return what an invalid choice, checked as `kind`, was meant to be, or None if that is unknown."""
    calls, made = constraint.calls, as_calls(choice)
    if calls is None or calls.required or calls.legacy:
        return None
    if kind != "tools":
        return Intent(Constraint(constraint.output_format), "none")
    function = (
        made[0].get("function") if isinstance(made, list) and len(made) == 1 and isinstance(made[0], dict) else None
    )
    tool = calls.tools.get(str(function.get("name"))) if isinstance(function, dict) else None
    if tool is None:
        return None
    return Intent(
        Constraint(calls=CallConstraint({tool.name: tool}, required=True, single=True)),
        {"type": "function", "function": {"name": tool.name}},
    )


def as_calls(choice: Mapping[str, Any]) -> Any:
    """Return the tool calls or the function call of a choice; empty or None if it has none."""
    message = choice.get("message")
    return (message.get("tool_calls") or message.get("function_call")) if isinstance(message, Mapping) else None


def as_text(choice: Mapping[str, Any]) -> str:
    """Return the content or the calls of a choice as text that a correction can quote."""
    if calls := as_calls(choice):
        text = json.dumps(calls, ensure_ascii=False)
    else:
        message = choice.get("message")
        text = str((message.get("content") if isinstance(message, Mapping) else choice.get("text")) or "")
    return text.encode(errors="replace").decode()  # half of a surrogate pair could not be sent
