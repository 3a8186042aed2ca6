"""How a constrained call is put to one model: in its engine's words, and in the prompt where decoding holds too little.

Decoding is as good as its backend: what it does not hold is asked for in words, and checked afterwards in any case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.config.models import Model
from router.errors import StructuredOutputViolation
from router.structured.constraint import CallConstraint, Constraint, OutputFormat
from router.structured.request.output_format import FORMAT_FIELDS
from router.types import ChatCall, ConstraintKind, Enforcement

FORM_FIELDS = (*FORMAT_FIELDS, "guided_decoding_backend", "guided_whitespace_pattern")
WHITESPACE = r"[ \n\r\t]{0,32}"
"""between two tokens of JSON: room for deep indentation, and an end to models that go on with blanks for ever"""
MORE_ROOM = 4
"""times the tokens of a try that was cut"""
LONGEST_QUOTE = 1_000
"""characters of an invalid answer that its correction repeats"""
CHARACTERS_A_TOKEN = 3
"""of a schema, at least; a prompt of schema alone would leave no room for the question"""

_Changes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Meant:
    """A model that has shown whether it calls, and what, can be held to just that: decoding constrains no choice."""

    constraint: Constraint
    tool_choice: Any


@dataclass(frozen=True, slots=True)
class Learned:
    """What earlier attempts of a request taught."""

    refused: bool = False
    """this model's engine refused the constraint as such, so decoding holds none of it"""
    wrong: StructuredOutputViolation | None = None
    """this model's last answer"""
    room: int = 1
    """times the client's `max_tokens`"""
    meant: Meant | None = None
    """what it wanted to say, where calls might have been made"""


def put(call: ChatCall, constraint: Constraint, model: Model, hold: Enforcement, learned: Learned) -> ChatCall:
    """Return the call as this model is to be asked.

    1. The format goes in the engine's own words where its decoding holds it, wholly or in part.
    2. Where it holds less than all, the prompt says it, too.
    3. After an invalid answer the model is shown that, and what was wrong with it; after a cut one it gets more room.
    """
    changes: _Changes = dict.fromkeys(name for name in FORM_FIELDS if name in call.body)
    words = ""
    if learned.meant:
        constraint = learned.meant.constraint
    if constraint.output_format:
        changes, words = _form(changes, constraint, constraint.output_format, call, model, hold)
    elif constraint.calls and constraint.calls.required:
        strict, words = _calls(constraint.calls, call, model, hold)
        changes |= strict
    if learned.meant:
        changes["tool_choice"] = learned.meant.tool_choice
    if call.is_chat and (words or learned.wrong):
        changes["messages"] = _corrected(_told(call.body["messages"], words, model), learned.wrong)
    if learned.room > 1 and call.max_tokens is not None:
        changes |= {name: call.max_tokens * learned.room for name in _LIMITS if call.body.get(name) is not None}
    return call.replaced(changes) if changes else call


_LIMITS = ("max_tokens", "max_completion_tokens")


def _form(
    gone: _Changes, constraint: Constraint, form: OutputFormat, call: ChatCall, model: Model, hold: Enforcement
) -> tuple[_Changes, str]:
    if hold == "none" or (constraint.calls and model.engine == "vllm"):
        # a vLLM that constrains the form could not call any more
        words = _in_words(form)
        return gone, f"Unless you call a function: {words[0].lower()}{words[1:]}" if constraint.calls else words
    if model.engine == "openai":
        if form.kind not in ("json_schema", "json_object"):
            return gone, _in_words(form)
        if "response_format" not in call.body:
            gone["response_format"] = _response_format(form, form.schema.value if form.schema else {})
            return gone, ""
        del gone["response_format"]
        return gone, ""
    words = _in_words(form) if hold == "partial" else ""
    if form.schema is None and form.kind != "json_object":
        value = list(form.choices) if form.kind == "choice" else form.source
        return gone | {"structured_outputs": {form.kind: value}}, words
    if hold != "unknown" and model.backend == "guidance":
        schema: Mapping[str, Any] = form.schema.closed if form.schema else {"type": "object"}
        guidance = {"whitespace_pattern": WHITESPACE} | ({"lenient": True} if hold == "partial" else {})
        return gone | {"response_format": _response_format(form, {**schema, "x-guidance": guidance})}, words
    if "response_format" in call.body and call.body["response_format"] is not None:
        del gone["response_format"]
        return gone, words
    return gone | {"response_format": _response_format(form, form.schema.value if form.schema else {})}, words


def _response_format(form: OutputFormat, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if form.kind == "json_object" and not schema:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _calls(calls: CallConstraint, call: ChatCall, model: Model, hold: Enforcement) -> tuple[_Changes, str]:
    if model.engine == "openai" or calls.legacy:
        return {}, ""
    if hold == "none":
        names = ", ".join(calls.tools)
        return {"tool_choice": "auto"}, f"Answer with a call of one of these functions, and nothing else: {names}."
    if hold == "unknown":
        return {}, ""
    return {"tools": [_decodable(tool, calls, model) for tool in call.body["tools"]]}, ""


def _decodable(tool: Mapping[str, Any], calls: CallConstraint, model: Model) -> Mapping[str, Any]:
    function = tool["function"]
    if model.backend == "xgrammar":  # vLLM's grammars for it hold the arguments of strict tools only
        return {**tool, "function": {**function, "strict": True}}
    known = calls.tools.get(function["name"])
    parameters = known.parameters if known else None
    return {**tool, "function": {**function, "parameters": parameters.closed}} if parameters else tool


def _in_words(form: OutputFormat) -> str:
    match form.kind:
        case "json_schema" if form.schema:
            return f"Answer with nothing but one JSON value that satisfies this JSON schema:\n{form.schema.text}"
        case "json_object":
            return "Answer with nothing but one JSON object."
        case "choice":
            choices = "\n".join(form.choices)
            return f"Answer with exactly one of these lines, and nothing else:\n{choices}"
        case "regex":
            return f"Answer with nothing but a text that this regular expression matches as a whole:\n{form.source}"
        case "grammar":
            return f"Answer with nothing but a text that this grammar derives:\n{form.source}"
    return ""


def _told(messages: list[Any], words: str, model: Model) -> list[Any]:
    """Put the words at the end of the last user message: not every chat template knows a system message."""
    if not words or (model.context and len(words) / CHARACTERS_A_TOKEN > model.context / 2):
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
    if wrong is None or not wrong.fault or messages[-1]["role"] == "assistant":  # there the answer is only continued
        return messages
    return [
        *messages,
        {"role": "assistant", "content": wrong.answer[:LONGEST_QUOTE] or "(no answer)"},
        {
            "role": "user",
            "content": f"That answer is not valid: {wrong.fault}. Answer again, with nothing but the corrected answer.",
        },
    ]


def meant(constraint: Constraint, choice: Mapping[str, Any], kind: ConstraintKind) -> Meant | None:
    """Return what an invalid choice, judged as `kind`, was meant to be; None: it is not known."""
    calls, made = constraint.calls, as_calls(choice)
    if calls is None or calls.required or calls.legacy:
        return None
    if kind != "tools":
        return Meant(Constraint(constraint.output_format), "none")
    function = (
        made[0].get("function") if isinstance(made, list) and len(made) == 1 and isinstance(made[0], dict) else None
    )
    tool = calls.tools.get(str(function.get("name"))) if isinstance(function, dict) else None
    if tool is None:
        return None
    return Meant(
        Constraint(calls=CallConstraint({tool.name: tool}, required=True, single=True)),
        {"type": "function", "function": {"name": tool.name}},
    )


def as_calls(choice: Mapping[str, Any]) -> Any:
    """Return the calls that a choice makes, in either form; empty or None: it makes none."""
    message = choice.get("message")
    return (message.get("tool_calls") or message.get("function_call")) if isinstance(message, Mapping) else None


def as_text(choice: Mapping[str, Any]) -> str:
    """Return what a choice says, calls included, as a text that a correction can quote."""
    if calls := as_calls(choice):
        text = json.dumps(calls, ensure_ascii=False)
    else:
        message = choice.get("message")
        text = str((message.get("content") if isinstance(message, Mapping) else choice.get("text")) or "")
    return text.encode(errors="replace").decode()  # half of a surrogate pair could not be sent
