"""One upstream's whole answer: read, chosen, checked, judged."""

from __future__ import annotations

from router.attempt.assembled_answer import read_assembled
from router.attempt.event_source import EventSource
from router.judge.base import WholeAnswerJudge
from router.messages.answer import cut_short, is_runaway, write
from router.messages.service_tier import service_tier_of
from router.structured.answer.stream_checker import StreamChecker
from router.structured.contract import Verify
from router.types import ChatCall, Usage


async def read_whole(
    call: ChatCall,
    source: EventSource,
    checker: StreamChecker | None,
    judge: WholeAnswerJudge | None,
    verify: Verify | None,
) -> bytes:
    """Return the body that the client may get; the lease's attempt learns what it used.

    With a `checker`, the answer comes as a stream, and is assembled.

    Raises:
        ApiError: the answer is not whole, or breaks its format.
    """
    attempt = source.lease.attempt
    body = await (read_assembled(source, call.choices, checker) if checker else source.exchange.read())
    if judge is not None:
        body = judge.read(body)
    answer = call.endpoint.parse(body, call.choices)
    usage = attempt.usage = Usage.of(answer.get("usage"))
    attempt.service_tier = service_tier_of(answer)
    if not call.endpoint.returns_choices:
        return body
    chosen = answer if judge is None else judge.choose(answer)
    attempt.samples = len(answer["choices"]) // len(chosen["choices"])
    choices = chosen["choices"]
    instead = await verify(choices, usage if chosen is answer else None) if verify else None
    if any(map(is_runaway, instead or choices)):
        attempt.ran_away = True
        instead = cut_short({"choices": instead or choices})["choices"]
    if instead or chosen is not answer:
        chosen = {**chosen, "choices": instead or choices}
        body = write(chosen)
    if judge is not None:
        judge.judge(chosen["choices"])
    return body
