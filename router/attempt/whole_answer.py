"""One upstream's whole answer: read, chosen, checked, judged."""

from __future__ import annotations

from router.judge.base import WholeAnswerJudge
from router.messages.answer import write
from router.replicas.pool import Lease
from router.structured.contract import Verify
from router.types import ChatCall, Usage, service_tier_of
from router.upstream.base import Exchange


async def read_whole(
    call: ChatCall, lease: Lease, exchange: Exchange, judge: WholeAnswerJudge | None, verify: Verify | None
) -> bytes:
    """Return the body that the client may get; the lease's attempt learns what it used.

    Raises:
        ApiError: the answer is not whole, or breaks its format.
    """
    body = await exchange.read()
    if judge is not None:
        body = judge.read(body)
    answer = call.endpoint.parse(body, call.choices)
    usage = lease.attempt.usage = Usage.of(answer.get("usage"))
    lease.attempt.service_tier = service_tier_of(answer)
    if not call.endpoint.returns_choices:
        return body
    chosen = answer if judge is None else judge.choose(answer)
    lease.attempt.samples = len(answer["choices"]) // len(chosen["choices"])
    instead = await verify(chosen["choices"], usage if chosen is answer else None) if verify else None
    if instead or chosen is not answer:
        chosen = {**chosen, "choices": instead or chosen["choices"]}
        body = write(chosen)
    if judge is not None:
        judge.judge(chosen["choices"])
    return body
