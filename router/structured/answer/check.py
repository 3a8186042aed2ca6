"""Does a whole answer satisfy its constraint, and if not quite, what of it may leave?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.messages.strict_json import NotJson, loads
from router.structured.answer.calls import OPEN, cut_arguments, judge_calls, written_calls
from router.structured.answer.instance import instance_fault, one_line
from router.structured.answer.json_prefix import JsonPrefix
from router.structured.answer.reasoning import without_thought
from router.structured.answer.repair import read, texts, without_opening
from router.structured.constraint import Calls, Constraint, OutputFormat
from router.structured.workers.grammar_workers import Fault, Finding, GrammarWorkers, Match, TookTooLong
from router.types import Verdict

MOST_CHARS = 32_000
"""of a message that the gateway's own process judges: that takes a few milliseconds, whatever is wrong with it"""

_TOO_LONG = "it cannot be judged in time"
_Fields = Mapping[str, Any]


async def judge(
    constraint: Constraint, choice: _Fields, workers: GrammarWorkers, *, at_limit: bool = False
) -> tuple[Verdict, _Fields]:
    """Judge one choice of a whole answer (`message` or `text`, and `finish_reason`); return with it what may leave.

    That is the choice itself, or a changed copy: of a repaired one, or one that was cut and did not say so. A long one
    is judged in the workshop.

    1. Refused, or stopped by a content filter: the client sees that for itself.
    2. Cut at the token limit: `finish_reason` says so.
    3. Calls are judged as calls, whatever the model says beside them.
    4. Content that has the form as it stands is the form. Else it may be calls written as text, then the form with
       something around it that is surely not meant, see `repair`. Where no format is asked for, any text
       will do, unless there must be a call.
    5. Invalid where the upstream counted as many tokens as there may be (`at_limit`), and the beginning of something
       valid: cut, whatever `finish_reason` says.
    """
    said, finish = choice.get("message"), choice.get("finish_reason")
    message: _Fields = said if isinstance(said, dict) else {"content": choice.get("text")}
    if message.get("refusal") or finish == "content_filter":
        return Verdict("refused", kind=constraint.kind), choice
    if finish == "length":
        return Verdict("truncated", kind=constraint.kind), choice
    if constraint.output_format and _is_plainly(constraint.output_format, message):
        return Verdict("valid", kind=constraint.output_format.kind), choice
    if _length(message) <= MOST_CHARS:
        kind, fault, changes, new_finish = await find(constraint, message, workers, at_limit=at_limit)
    else:
        kind, fault, changes, new_finish = await _find_in_worker(constraint, message, workers, at_limit=at_limit)
    if fault:
        return Verdict("invalid", one_line(fault.message), fault.path, kind), choice
    if new_finish == "length":
        return Verdict("truncated", kind=kind), {**choice, "finish_reason": "length"}
    if not changes:
        return Verdict("valid", kind=kind), choice
    repaired = {"message": {**message, **changes}} if isinstance(said, dict) else {"text": changes["content"]}
    return Verdict("repaired", kind=kind), {**choice, **repaired, "finish_reason": new_finish or finish}


async def find(constraint: Constraint, message: _Fields, workers: GrammarWorkers, *, at_limit: bool) -> Finding:
    """Judge a message by steps 3 to 5, in this process whatever its size."""
    finding = await _find(constraint, message, workers)
    if finding.fault and at_limit and await _is_cut(constraint, message, finding.fault, workers):
        return Finding(finding.kind, finish_reason="length")
    return finding


async def _find_in_worker(
    constraint: Constraint, message: _Fields, workers: GrammarWorkers, *, at_limit: bool
) -> Finding:
    try:
        return await workers.find(constraint, message, at_limit=at_limit)
    except TookTooLong:
        return Finding(constraint.kind, Fault("", _TOO_LONG))


def _length(message: _Fields) -> int:
    """Return about how many characters of a message have to be read."""
    return sum(len(str(message.get(key) or "")) for key in ("content", "tool_calls", "function_call"))


def _is_plainly(output_format: OutputFormat, message: _Fields) -> bool:
    """Return whether a message is nothing but JSON of the form, as far as that is quickly told: most answers are."""
    content, schema = message.get("content"), output_format.schema
    if schema is None or schema.validator is None or _calls(message):
        return False
    if not isinstance(content, str) or len(content) > MOST_CHARS:
        return False
    try:
        return schema.validator.is_valid(loads(content, unique_keys=True))
    except ValueError:
        return False


def _calls(message: _Fields) -> bool:
    return bool(message.get("tool_calls") or message.get("function_call"))


async def _find(constraint: Constraint, message: _Fields, workers: GrammarWorkers) -> Finding:
    if _calls(message):
        fault, fields = await judge_calls(constraint.calls, message, workers)
        return Finding("tools", fault, {} if fault else _changed(message, fields))
    output_format = (
        await _check_format(constraint.output_format, message, workers) if constraint.output_format else None
    )
    if output_format and not output_format.fault and not output_format.changes:
        return output_format
    written = await _find_written(constraint.calls, message, workers) if constraint.calls else None
    for finding in (written, output_format):
        if finding and not finding.fault:
            return finding
    if finding := written or output_format:
        return finding
    is_call_missing = constraint.calls is not None and constraint.calls.required
    return Finding("tools", Fault("", "no function is called, but one must be") if is_call_missing else None)


async def _check_format(output_format: OutputFormat, message: _Fields, workers: GrammarWorkers) -> Finding:
    content = message.get("content")
    if not isinstance(content, str):
        return Finding(
            output_format.kind, Fault("", "there is no content" if content is None else "the content is no string")
        )
    find = _find_json if output_format.kind in ("json_schema", "json_object") else _find_text
    fault, text = await find(output_format, content, workers)
    if fault or text == content:
        return Finding(output_format.kind, fault)
    return Finding(output_format.kind, changes={"content": text, **_thought(message, content)})


async def _find_json(output_format: OutputFormat, content: str, workers: GrammarWorkers) -> tuple[Fault | None, str]:
    try:
        text, value = read(content)
    except NotJson as error:
        return Fault("", f"not strict JSON: {error}" if content.strip() else "there is no content"), content
    if output_format.schema:
        return await instance_fault(output_format.schema, text, value, workers), text
    return None if isinstance(value, dict) else Fault("", "the value is not a JSON object"), text


async def _find_text(output_format: OutputFormat, content: str, workers: GrammarWorkers) -> tuple[Fault | None, str]:
    try:
        as_it_is = await _match(output_format, content, workers)
        if as_it_is.word == "valid":
            return None, content
        for text in dict.fromkeys(texts(output_format, content)):
            if (await _match(output_format, text, workers)).word == "valid":
                return None, text
    except TookTooLong:
        return Fault("", _TOO_LONG), content
    too_short = (
        "it ends before it is whole" if as_it_is.word == "incomplete" else f"it does not match the {output_format.kind}"
    )
    return Fault("", as_it_is.message or too_short), content


async def _match(output_format: OutputFormat, text: str, workers: GrammarWorkers) -> Match:
    if output_format.kind != "choice":
        return await workers.match(output_format.kind, output_format.source, text)
    if text in output_format.choices:
        return Match("valid")
    begun = any(choice.startswith(text) for choice in output_format.choices)
    return Match(
        "incomplete" if begun else "invalid", f"it is none of {', '.join(map(repr, output_format.choices[:20]))}"
    )


async def _find_written(calls: Calls, message: _Fields, workers: GrammarWorkers) -> Finding | None:
    content = message.get("content")
    written = written_calls(calls, content) if isinstance(content, str) else None
    if written is None or not isinstance(content, str):
        return None
    fault, fields = await judge_calls(calls, written, workers)
    if fault:
        return Finding("tools", fault)
    changes = {"content": None, **fields, **_thought(message, content)}
    return Finding("tools", None, changes, "function_call" if calls.legacy else "tool_calls")


def _changed(message: _Fields, fields: _Fields) -> _Fields:
    return {name: value for name, value in fields.items() if message.get(name) != value}


def _thought(message: _Fields, content: str) -> _Fields:
    """Return where the thoughts go that stand before the content."""
    thought, _ = without_thought(content)
    is_told = message.get("reasoning_content") or message.get("reasoning")
    return {"reasoning_content": thought} if thought and not is_told else {}


async def _is_cut(constraint: Constraint, message: _Fields, fault: Fault, workers: GrammarWorkers) -> bool:
    if _calls(message):
        arguments = cut_arguments(message, fault)
        return arguments is not None and _is_begun(arguments)
    content = message.get("content")
    if not isinstance(content, str | None):
        return False
    rest = without_opening(content or "")
    output_format = constraint.output_format
    if output_format is None:
        return _is_begun(rest.removeprefix(OPEN))
    if output_format.kind in ("json_schema", "json_object"):
        return _is_begun(rest)
    try:
        return (await _match(output_format, rest, workers)).word == "incomplete"
    except TookTooLong:
        return False


def _is_begun(text: str) -> bool:
    """Return whether a text is the beginning of JSON, and not the whole."""
    prefix = JsonPrefix()
    try:
        prefix.feed(text)
    except NotJson:
        return False
    return not prefix.complete
