"""Checks whether a whole answer satisfies its constraint, and repairs it where it almost does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.messages.openai_form import REASONING
from router.messages.strict_json import NotJson, loads
from router.structured.answer.calls import check_calls, truncated_arguments
from router.structured.answer.instance import instance_fault, one_line
from router.structured.answer.json_prefix import JsonPrefix
from router.structured.answer.reasoning import removed_reasoning, separations
from router.structured.answer.repair import repair_json, strip_opening, text_candidates
from router.structured.answer.text_calls.parse import is_beginning_of_calls, parse_text_calls
from router.structured.constraint import CallConstraint, Constraint, OutputFormat
from router.structured.workers.grammar_workers import CheckResult, Fault, GrammarWorkers, Match, WorkLimitExceeded
from router.types import Verdict

MAX_LOCAL_CHARS = 32_000
"""of a message that this process checks itself: that takes a few milliseconds, whatever is wrong with the message"""

_TIMED_OUT = "it could not be checked in time"
_Fields = Mapping[str, Any]


async def check_choice(
    constraint: Constraint, choice: _Fields, workers: GrammarWorkers, *, at_limit: bool = False
) -> tuple[Verdict, _Fields]:
    """Check one choice of a whole answer (`message` or `text`, and `finish_reason`).

    1. Refused by the model or by a content filter: refused. The client can see that itself.
    2. `finish_reason` is "length": truncated.
    3. Tool calls are checked as calls, whatever content stands beside them.
    4. Content that has the format as it is: valid. Otherwise it is tried as calls written as text, then as the format
       surrounded by something that is surely not part of the answer (see `repair`). If no format is asked for, any
       text is valid, unless a call is required.
    5. Invalid, but a prefix of something valid, and the upstream counted the maximum number of tokens (`at_limit`):
       truncated, whatever `finish_reason` says.
    6. No content, but thoughts that are the answer: some servers take an answer without thoughts for these. It is
       moved to the content.

    Grammar workers check long messages.

    Returns:
        The verdict, and the choice to send: the same one, or a changed copy if it was repaired or if it was truncated
        with another `finish_reason`.
    """
    chat_message, finish = choice.get("message"), choice.get("finish_reason")
    message: _Fields = chat_message if isinstance(chat_message, dict) else {"content": choice.get("text")}
    if message.get("refusal") or finish == "content_filter":
        return Verdict("refused", kind=constraint.kind), choice
    if finish == "length":
        return Verdict("truncated", kind=constraint.kind), choice
    if constraint.output_format and _is_valid_as_is(constraint.output_format, message):
        return Verdict("valid", kind=constraint.output_format.kind), choice
    if _message_chars(message) <= MAX_LOCAL_CHARS:
        kind, fault, changes, new_finish = await check_message(constraint, message, workers, at_limit=at_limit)
    else:
        kind, fault, changes, new_finish = await _check_in_worker(constraint, message, workers, at_limit=at_limit)
    if fault:
        return Verdict("invalid", one_line(fault.message), fault.path, kind), choice
    if new_finish == "length":
        return Verdict("truncated", kind=kind), {**choice, "finish_reason": "length"}
    if not changes:
        return Verdict("valid", kind=kind), choice
    repaired = (
        {"message": _with_changes(message, changes)} if isinstance(chat_message, dict) else {"text": changes["content"]}
    )
    return Verdict("repaired", kind=kind), {**choice, **repaired, "finish_reason": new_finish or finish}


def _with_changes(message: _Fields, changes: _Fields) -> _Fields:
    changed = {**message, **changes}
    return {name: value for name, value in changed.items() if name != REASONING or value}


async def check_message(
    constraint: Constraint, message: _Fields, workers: GrammarWorkers, *, at_limit: bool
) -> CheckResult:
    """Check a message by steps 3 to 5 of `check_choice`, in this process, whatever its size."""
    result = await _check(constraint, message, workers)
    if result.fault and (moved := await _check_stray(constraint, message, workers)):
        return moved
    if result.fault and at_limit and await _is_truncated(constraint, message, result.fault, workers):
        return CheckResult(result.kind, finish_reason="length")
    return result


async def _check_in_worker(
    constraint: Constraint, message: _Fields, workers: GrammarWorkers, *, at_limit: bool
) -> CheckResult:
    try:
        return await workers.check_message(constraint, message, at_limit=at_limit)
    except WorkLimitExceeded:
        return CheckResult(constraint.kind, Fault("", _TIMED_OUT))


async def _check_stray(constraint: Constraint, message: _Fields, workers: GrammarWorkers) -> CheckResult | None:
    """Return the result of an answer that stands in the thoughts, or None if there is none.

    Only of JSON and calls: to a pattern, thoughts may be an answer by chance.
    """
    thoughts, content, output_format = message.get(REASONING), message.get("content"), constraint.output_format
    if not isinstance(thoughts, str) or _has_calls(message) or (content and str(content).strip()):
        return None
    if output_format and output_format.kind not in ("json_schema", "json_object"):
        return None
    result = await _check(constraint, {"content": thoughts.strip()}, workers, prose=False)
    if result.fault:
        return None
    changes = {"content": thoughts.strip(), **result.changes}
    return CheckResult(result.kind, None, {REASONING: None, **changes}, result.finish_reason)


def _message_chars(message: _Fields) -> int:
    """Return approximately how many characters of a message must be checked."""
    return sum(len(str(message.get(key) or "")) for key in ("content", "tool_calls", "function_call")) or len(
        str(message.get(REASONING) or "")
    )


def _is_valid_as_is(output_format: OutputFormat, message: _Fields) -> bool:
    """Return whether the content is valid JSON without any repair. A fast path for most answers."""
    content, schema = message.get("content"), output_format.schema
    if schema is None or schema.validator is None or _has_calls(message):
        return False
    if not isinstance(content, str) or len(content) > MAX_LOCAL_CHARS:
        return False
    try:
        return schema.validator.is_valid(loads(content, unique_keys=True))
    except ValueError:
        return False


def _has_calls(message: _Fields) -> bool:
    return bool(message.get("tool_calls") or message.get("function_call"))


async def _check(
    constraint: Constraint, message: _Fields, workers: GrammarWorkers, *, prose: bool = True
) -> CheckResult:
    if _has_calls(message):
        fault, fields = await check_calls(constraint.calls, message, workers)
        return CheckResult("tools", fault, {} if fault else _changed_fields(message, fields))
    as_format = None
    if constraint.output_format:
        as_format = await _check_format(constraint.output_format, message, workers, prose=prose)
    if as_format and not as_format.fault and not as_format.changes:
        return as_format
    as_calls = await _check_text_calls(constraint.calls, message, workers) if constraint.calls else None
    for result in (as_calls, as_format):
        if result and not result.fault:
            return result
    if result := as_calls or as_format:
        return result
    is_call_missing = constraint.calls is not None and constraint.calls.required
    return CheckResult("tools", Fault("", "no function is called, but a call is required") if is_call_missing else None)


async def _check_format(
    output_format: OutputFormat, message: _Fields, workers: GrammarWorkers, *, prose: bool
) -> CheckResult:
    content = message.get("content")
    if not isinstance(content, str):
        return CheckResult(
            output_format.kind, Fault("", "there is no content" if content is None else "the content is not a string")
        )
    if output_format.kind in ("json_schema", "json_object"):
        fault, text = await _check_json(output_format, content, workers, prose=prose)
    else:
        fault, text = await _check_text(output_format, content, workers)
    if fault or text == content:
        return CheckResult(output_format.kind, fault)
    reasoning = removed_reasoning(content, text)
    return CheckResult(output_format.kind, changes={"content": text, **_reasoning_field(message, reasoning)})


async def _check_json(
    output_format: OutputFormat, content: str, workers: GrammarWorkers, *, prose: bool
) -> tuple[Fault | None, str]:
    try:
        text, value = repair_json(content, prose=prose)
    except NotJson as error:
        return Fault("", f"not strict JSON: {error}" if content.strip() else "there is no content"), content
    if output_format.schema:
        return await instance_fault(output_format.schema, text, value, workers), text
    return None if isinstance(value, dict) else Fault("", "the value is not a JSON object"), text


async def _check_text(output_format: OutputFormat, content: str, workers: GrammarWorkers) -> tuple[Fault | None, str]:
    try:
        unchanged = await _match(output_format, content, workers)
        if unchanged.status == "valid":
            return None, content
        for text in dict.fromkeys(text_candidates(output_format, content)):
            if (await _match(output_format, text, workers)).status == "valid":
                return None, text
    except WorkLimitExceeded:
        return Fault("", _TIMED_OUT), content
    reason = "it is incomplete" if unchanged.status == "incomplete" else f"it does not match the {output_format.kind}"
    return Fault("", unchanged.message or reason), content


async def _match(output_format: OutputFormat, text: str, workers: GrammarWorkers) -> Match:
    if output_format.kind != "choice":
        return await workers.match(output_format.kind, output_format.source, text)
    if text in output_format.choices:
        return Match("valid")
    is_prefix = any(choice.startswith(text) for choice in output_format.choices)
    return Match(
        "incomplete" if is_prefix else "invalid", f"it is not one of {', '.join(map(repr, output_format.choices[:20]))}"
    )


async def _check_text_calls(
    constraint: CallConstraint, message: _Fields, workers: GrammarWorkers
) -> CheckResult | None:
    content = message.get("content")
    parsed = parse_text_calls(constraint, content) if isinstance(content, str) else None
    if parsed is None:
        return None
    fault, fields = await check_calls(constraint, parsed.fields, workers)
    if fault:
        return CheckResult("tools", fault)
    changes = {"content": None, **fields, **_reasoning_field(message, parsed.reasoning)}
    return CheckResult("tools", None, changes, "function_call" if constraint.legacy else "tool_calls")


def _changed_fields(message: _Fields, fields: _Fields) -> _Fields:
    return {name: value for name, value in fields.items() if message.get(name) != value}


def _reasoning_field(message: _Fields, reasoning: str) -> _Fields:
    """Return the field for the reasoning that preceded the answer, unless the message has one already."""
    return {REASONING: reasoning} if reasoning and not message.get(REASONING) else {}


async def _is_truncated(constraint: Constraint, message: _Fields, fault: Fault, workers: GrammarWorkers) -> bool:
    if _has_calls(message):
        arguments = truncated_arguments(message, fault)
        return arguments is not None and _is_json_prefix(arguments)
    content = message.get("content")
    content = "" if content is None else content
    if not isinstance(content, str):
        return False
    if constraint.output_format is None:
        return constraint.calls is not None and is_beginning_of_calls(constraint.calls.tools, content)
    for _, answer in separations(content):
        if await _is_beginning_of_format(constraint.output_format, strip_opening(answer), workers):
            return True
    return False


async def _is_beginning_of_format(output_format: OutputFormat, text: str, workers: GrammarWorkers) -> bool:
    if output_format.kind in ("json_schema", "json_object"):
        return _is_json_prefix(text)
    try:
        return (await _match(output_format, text, workers)).status == "incomplete"
    except WorkLimitExceeded:
        return False


def _is_json_prefix(text: str) -> bool:
    """Return whether a text is the beginning of JSON, and not the whole."""
    prefix = JsonPrefix()
    try:
        prefix.feed(text)
    except NotJson:
        return False
    return not prefix.complete
