from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.replicas import probe
from router.replicas.probe import Probe
from tests.support.fakes import HANG, FakeExchange

LIVES = lambda: FakeExchange(status=200)  # noqa: E731
LOST = UpstreamFailed("refused", code="upstream_unreachable")


class Scripted:
    """Answers each probe with the next of its script; after the last one the probe is cancelled."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, str, bytes | None, dict[str, str]]] = []
        self.exchanges: list[FakeExchange] = []

    async def send(
        self, method: str, url: str, *, headers: Any, body: bytes | None, connect_s: float, within_s: float
    ) -> FakeExchange:
        self.asked.append((method, url, body, dict(headers)))
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if answer is HANG:
            raise UpstreamTimedOut("late")
        exchange = answer() if callable(answer) else answer
        exchange.within_s = 0.0
        self.exchanges.append(exchange)
        return exchange


async def play(monkeypatch: pytest.MonkeyPatch, *script: Any) -> tuple[list[bool], list[float], Probe, Scripted]:
    """Return whether it was up after each probe, and how long it slept; no real time passes."""
    ups: list[bool] = []
    naps: list[float] = []
    upstream = Scripted(*script)
    watch = Probe("slm/0", "http://slm/health", upstream)

    async def sleep(seconds: float) -> None:
        ups.append(watch.up)
        naps.append(seconds)
        if not upstream.script:
            raise asyncio.CancelledError

    monkeypatch.setattr(probe, "asyncio", SimpleNamespace(sleep=sleep))
    with pytest.raises(asyncio.CancelledError):
        await watch.run()
    return ups, naps, watch, upstream


async def test_asks_for_health_only(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, _, upstream = await play(monkeypatch, LIVES)
    assert upstream.asked == [("GET", "http://slm/health", None, {})]


async def test_falls_on_the_second_failure_in_a_row_and_rises_on_the_first_success(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ups, naps, watch, _ = await play(monkeypatch, LIVES, LOST, LIVES, LOST, LOST, LOST, LIVES)
    assert ups == [True, True, True, True, False, False, True]
    usual, soon = probe.PERIOD_S, probe.TIMEOUT_S
    assert naps == [usual, soon, usual, soon, soon, soon, usual]
    assert watch.detail == ""
    words = [record.message.split(":")[0] for record in caplog.records]
    assert words == ["slm/0 is down", "slm/0 is up again"], "said once each"


async def test_its_time_up_counts_from_its_first_answer_until_it_fell(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 15.0, 17.0, 19.0])
    monkeypatch.setattr(probe, "monotonic", lambda: next(clock))
    _, _, watch, _ = await play(monkeypatch, LIVES, LOST, LOST, LOST)
    assert watch.uptime.until(100.0) == 7.0


async def test_detail_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, watch, _ = await play(monkeypatch, LOST, LOST)
    assert not watch.up
    assert not watch.may_answer
    assert watch.detail == "slm/0 does not answer its health check"


def test_up_before_the_first_probe() -> None:
    assert Probe("slm/0", "http://slm/health", Scripted()).up


@pytest.mark.parametrize(
    ("status", "up"), [(200, True), (204, True), (401, True), (404, True), (500, False), (503, False)]
)
async def test_statuses(monkeypatch: pytest.MonkeyPatch, status: int, up: bool) -> None:
    answers: list[Callable[[], FakeExchange]] = [lambda: FakeExchange(status=status)] * 2
    ups, _, _, upstream = await play(monkeypatch, *answers)
    assert ups[-1] is up
    assert all(exchange.closed for exchange in upstream.exchanges)


@pytest.mark.parametrize("hangs", [HANG, lambda: FakeExchange(body=HANG)], ids=["no headers", "no body"])
async def test_one_that_hangs_is_down_but_may_only_be_busy(monkeypatch: pytest.MonkeyPatch, hangs: Any) -> None:
    monkeypatch.setattr(probe, "TIMEOUT_S", 0.01)
    ups, _, watch, upstream = await play(monkeypatch, hangs, hangs)
    assert ups[-1] is False
    assert watch.may_answer
    _, _, refused, _ = await play(monkeypatch, hangs, hangs, LOST)
    assert not refused.may_answer
    assert all(exchange.closed for exchange in upstream.exchanges)


async def test_a_broken_body_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    ups, _, _, _ = await play(monkeypatch, *[lambda: FakeExchange(body=UpstreamFailed("cut"))] * 2)  # type: ignore[arg-type]
    assert ups[-1] is False


async def test_outside_its_hours_nothing_is_asked_and_nothing_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, watch, upstream = await play(monkeypatch, LIVES)
    watch.drain("nearly over")
    assert (watch.up, watch.detail) == (False, "nearly over")
    before = watch.paid.until(1e9)
    assert watch.paid.until(2e9) > before, "it still answers the requests that it has"
    watch.unload("runs at other hours")
    assert (watch.up, watch.detail, watch.holds_memory) == (False, "runs at other hours", False)
    assert not watch.may_answer
    before = watch.paid.until(1e9)
    assert watch.paid.until(2e9) == before

    async def sleep(_: float) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(probe, "asyncio", SimpleNamespace(sleep=sleep))
    with pytest.raises(asyncio.CancelledError):
        await watch.run()
    assert len(upstream.asked) == 1
    watch.load()
    assert (watch.up, watch.detail) == (True, "")


async def test_without_a_health_path_it_is_up_within_its_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Probe("api/0", None, Scripted())

    async def sleep(_: float) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(probe, "asyncio", SimpleNamespace(sleep=sleep))
    with pytest.raises(asyncio.CancelledError):
        await watch.run()
    assert watch.up
    assert watch.uptime.until(2e9) > watch.uptime.until(1e9)
