"""The order of the measurements, with a load client that only writes down what it was asked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from benchmarks.common.load import Answer, Endpoint, LoadFailed
from benchmarks.vllm.bodies import Bodies, WrongTokenCount
from benchmarks.vllm.measure import Measurement
from benchmarks.vllm.samples import Workload
from benchmarks.vllm.targets import Target

DIRECT = Target("direct", ("unix:/a", "unix:/b"), "m")
GATEWAY = Target("gateway", ("http://g",), "m", {"authorization": "Bearer k"})


@dataclass
class Client:
    """Answers each request in a second of a clock of its own; a first token takes 100 ms, through the gateway 103."""

    error: str = ""
    short: int = 0
    """so many tokens too few"""
    silent: bool = False
    calls: list[tuple[str, int, int, int]] = field(default_factory=list)
    """URL, requests, concurrency, tokens of the last body"""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    clock: itertools.count[int] = field(default_factory=itertools.count)

    async def __call__(
        self, endpoint: Endpoint, bodies: Sequence[bytes], *, requests: int, concurrency: int, keep: bool,
        timeout_s: float
    ) -> list[Answer]:  # fmt: skip
        assert keep
        assert len(bodies) == requests
        asked = [json.loads(body) for body in bodies]
        self.calls.append((endpoint.url, requests, concurrency, asked[-1]["max_tokens"]))
        self.headers.append(endpoint.headers)
        return [self._answer(body, 0.103 if endpoint.url.startswith("http") else 0.1) for body in asked]

    def _answer(self, asked: dict[str, Any], first_s: float) -> Answer:
        now = float(next(self.clock))
        tokens = asked["max_tokens"] - self.short
        usage = json.dumps({"usage": {"prompt_tokens": 9, "completion_tokens": tokens}}).encode()
        first = None if self.silent or "stream" not in asked else now + first_s
        return Answer(200, now, first, now + 1, tokens, usage, self.error)


def measurement(client: Client, lines: list[str] | None = None) -> Measurement:
    return Measurement(DIRECT, GATEWAY, Bodies(1), (lines if lines is not None else []).append, client)


async def test_rounds_are_abba_then_baab() -> None:
    client, lines = Client(), []
    workload = Workload(4, 8, 16, stream=True)
    rounds = await measurement(client, lines).rounds([workload], 2)
    assert [[sample.target for sample in one.samples] for one in rounds] == [
        ["direct", "gateway", "gateway", "direct"],
        ["gateway", "direct", "direct", "gateway"],
    ]
    assert {sample.requests for one in rounds for sample in one.samples} == {8}
    assert lines[0] == "warming up"
    assert len(lines) == 3, "a line for each round"


async def test_warming_up_is_short_and_not_counted() -> None:
    client = Client()
    await measurement(client).rounds([Workload(2, 8, 16, stream=False)], 1)
    assert client.calls[:3] == [
        ("unix:/a:/v1/chat/completions", 1, 1, 8),
        ("unix:/b:/v1/chat/completions", 1, 1, 8),
        ("http://g/v1/chat/completions", 2, 2, 8),
    ]


async def test_the_direct_load_is_divided_among_the_engines() -> None:
    client = Client()
    (one,) = await measurement(client).rounds([Workload(5, 9, 16, stream=False)], 1)
    assert client.calls[3:5] == [
        ("unix:/a:/v1/chat/completions", 5, 3, 16),
        ("unix:/b:/v1/chat/completions", 4, 2, 16),
    ]
    assert one.of("direct")[0].requests == 9


async def test_one_at_a_time_asks_one_engine() -> None:
    client = Client()
    await measurement(client).rounds([Workload(1, 3, 16, stream=False)], 1)
    assert [call[:3] for call in client.calls if call[0].startswith("unix")] == [
        ("unix:/a:/v1/chat/completions", requests, 1) for requests in (1, 3, 3)
    ]


async def test_only_the_gateway_gets_its_key() -> None:
    client = Client()
    await measurement(client).rounds([Workload(1, 1, 2, stream=False)], 1)
    for (url, *_), headers in zip(client.calls, client.headers, strict=True):
        assert bool(headers) == url.startswith("http")


async def test_pairs_alternate_and_come_after_a_short_request_on_the_same_connection() -> None:
    client = Client()
    pairs = await measurement(client).pairs(3, max_tokens=4)
    assert [pair.first for pair in pairs] == ["direct", "gateway", "direct"]
    assert all(pair.gateway_ms - pair.direct_ms == pytest.approx(3.0) for pair in pairs)
    assert {call[1:] for call in client.calls} == {(2, 1, 4)}


async def test_an_error_ends_the_measurement() -> None:
    with pytest.raises(LoadFailed, match="boom"):
        await measurement(Client(error="boom")).rounds([Workload(1, 1, 2, stream=False)], 1)
    with pytest.raises(LoadFailed, match="boom"):
        await measurement(Client(error="boom")).pairs(1, 2)


async def test_another_number_of_tokens_ends_the_measurement() -> None:
    with pytest.raises(WrongTokenCount):
        await measurement(Client(short=1)).rounds([Workload(1, 1, 4, stream=False)], 1)
    with pytest.raises(WrongTokenCount):
        await measurement(Client(short=1)).pairs(1, 4)


async def test_a_stream_without_content_has_no_first_token() -> None:
    with pytest.raises(LoadFailed, match="no content"):
        await measurement(Client(silent=True)).pairs(1, 4)
