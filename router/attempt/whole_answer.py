"""One upstream's whole answer: read, brought into OpenAI's form, chosen, checked, judged."""

from __future__ import annotations

from typing import Any, NamedTuple

from router.attempt.assembled_answer import read_assembled
from router.attempt.empty_answer import Expectation
from router.attempt.event_source import EventSource
from router.errors import AnswerEmpty, UpstreamFailed
from router.judge.base import Judge, WholeAnswerJudge
from router.messages.answer import cut_short, is_runaway, write
from router.messages.error_inside import ErrorInside
from router.messages.finish_reason import REPETITION
from router.messages.openai_form import put_in_form, without_vllms_empty_fields
from router.messages.service_tier import service_tier_of
from router.messages.usage import read_usage
from router.messages.visible import Visible
from router.structured.answer.stream_checker import StreamChecker
from router.structured.answer.thoughts import begins_inside_thoughts, separate_thoughts
from router.structured.contract import Choices, Verify

_REPETITION = REPETITION.encode()


class WholeAnswer(NamedTuple):
    """An answer that may leave; if it is empty, only if no other model has a better one."""

    body: bytes
    fault: AnswerEmpty | None = None


async def read_whole(
    expected: Expectation,
    source: EventSource,
    checker: StreamChecker | None,
    judged_by: Judge | None,
    verify: Verify | None,
) -> WholeAnswer:
    """Return the body that the client may get; the lease's attempt learns what it used.

    With a `checker`, the answer comes as a stream, and is assembled. An empty answer is neither checked nor judged.

    Raises:
        ApiError: the answer is not whole, is an error, or breaks its format.
    """
    call = expected.call
    judge = judged_by if isinstance(judged_by, WholeAnswerJudge) else None
    attempt = source.lease.attempt
    body = await (read_assembled(source, call.choices, checker) if checker else source.exchange.read())
    body = without_vllms_empty_fields(body)
    if judge is not None:
        body = judge.read(body)
    try:
        answer = call.endpoint.parse(body, call.choices)
    except ErrorInside as inside:
        raise source.refusal(inside.error) from None
    usage = attempt.usage = read_usage(answer.get("usage"))
    attempt.service_tier = service_tier_of(answer)
    if not call.endpoint.returns_choices:
        return WholeAnswer(body)
    is_changed = put_in_form(answer)
    chosen = answer
    if judge is not None:
        chosen = judge.choose(answer)
        attempt.samples = len(answer["choices"]) // len(chosen["choices"])
    choices: Choices = chosen["choices"]
    has_tags = b"think>" in body
    empty = None
    if has_tags or not all(map(_begins_visibly, choices)):
        empty = expected.fault(Visible().look(map(_without_thoughts, choices) if has_tags else choices), usage)
    if empty is not None and not all(isinstance(choice.get("message"), dict) for choice in choices):
        raise UpstreamFailed("the upstream answered with a choice without a message")
    if empty is None and verify is not None:
        choices = await verify(choices, usage if chosen is answer else None) or choices
    if _REPETITION in body and any(map(is_runaway, choices)):
        attempt.ran_away = True
        choices = cut_short({"choices": choices})["choices"]
    if has_tags and expected.is_free:  # after the check, which finds calls behind thoughts
        if any(begins_inside_thoughts(_content(choice)) for choice in answer["choices"]):
            expected.learn_thoughts(begins_inside=True)
        choices = [_without_thoughts(choice) for choice in choices]
    if is_changed or choices is not answer["choices"]:
        body = write({**chosen, "choices": choices})
    if judge is not None and empty is None:
        judge.judge(choices)
    return WholeAnswer(body, empty)


def _begins_visibly(choice: Any) -> bool:
    """Return whether a choice is a text that begins with a letter or a digit, perhaps after a blank: most are."""
    content = _content(choice)
    return isinstance(content, str) and content[:2].strip().isalnum()


def _content(choice: Any) -> object:
    message = choice.get("message")
    return message.get("content") if isinstance(message, dict) else None


def _without_thoughts(choice: Any) -> Any:
    message = choice.get("message")
    if not isinstance(message, dict) or (other := separate_thoughts(message)) is message:
        return choice
    return {**choice, "message": other}
