from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

from router.attempt.continuation.token_count import count_tokens
from router.config.models import Model
from router.errors import UpstreamFailed
from router.replicas.pool import Lease, Pool, Replica
from tests.support.fakes import FakeExchange, FakeUpstream, model

MANAGED = Model(name="slm", tier="slm", engine="vllm", source="org/slm")
ROOT = "unix:/run/slm.sock:/v1"


def lease_of(one: Model) -> Lease:
    return Pool(one, [Replica("slm/0", ROOT)]).acquire(monotonic())


async def counted(answer: Any, one: Model = MANAGED) -> tuple[int | None, FakeUpstream]:
    upstream = FakeUpstream({"slm.sock:": [answer]})
    return await count_tokens(upstream, lease_of(one), "Once upon"), upstream


async def test_an_engine_of_ours_counts() -> None:
    exchange = FakeExchange(body=b'{"count": 3, "max_model_len": 2048, "tokens": [1, 2, 3]}')
    tokens, upstream = await counted(exchange)
    assert tokens == 3
    [sent] = upstream.sent
    assert sent.url == "unix:/run/slm.sock:/tokenize"
    assert sent.body == {"model": "slm", "prompt": "Once upon", "add_special_tokens": False}
    assert exchange.closed == 1


@pytest.mark.parametrize(
    "answer",
    [
        FakeExchange(status=404, body=b"{}"),
        FakeExchange(body=b"<html>"),
        FakeExchange(body=b'{"count": "3"}'),
        FakeExchange(body=UpstreamFailed("cut")),  # type: ignore[arg-type]
        UpstreamFailed("refused"),
    ],
)
async def test_without_an_answer_nothing_is_known(answer: Any) -> None:
    assert (await counted(answer))[0] is None


@pytest.mark.parametrize("one", [model(), model(engine="openai")])
async def test_servers_of_others_are_not_asked(one: Model) -> None:
    tokens, upstream = await counted(FakeExchange(), one)
    assert tokens is None
    assert upstream.sent == []
