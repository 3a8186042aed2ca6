from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.replicas.breaker import (
    FAILURES_TO_OPEN,
    FIRST_COOLDOWN_S,
    MAX_COOLDOWN_S,
    MIN_CALLS,
    WINDOW_CALLS,
    Breaker,
)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed(at, breaker.start_call(at))
    return breaker


def make(outcomes: str, at: float = 0.0) -> Breaker:
    """A breaker after these calls, one after the other, or after the one that opened it: `.` succeeds, `x` fails."""
    breaker = Breaker()
    for outcome in outcomes:
        if not breaker.allows(at):
            break
        call = breaker.start_call(at)
        if outcome == "x":
            breaker.failed(at, call)
        else:
            breaker.succeeded(call)
    return breaker


def test_opens_on_the_third_failure_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed(0.0, breaker.start_call(0.0))
        assert breaker.allows(0.0)
    breaker.failed(0.0, breaker.start_call(0.0))
    assert not breaker.allows(0.0)


@pytest.mark.parametrize(
    ("outcomes", "is_open"),
    [
        (".x" * (MIN_CALLS // 2), True),
        (".x" * (MIN_CALLS // 2 - 1), False),  # too few calls to tell
        ("..x" * WINDOW_CALLS, False),  # a third fails
        ("." * 1000 + "xx." * 4, False),  # not half of the last 20 yet
        ("." * 1000 + "xx." * 5, True),  # however long it was healthy before
        ("." * 1000 + "xxx", True),  # a dead one: in a row
        ("xx." * 3 + "." * WINDOW_CALLS + "xx.xx.xx.", False),  # what is older than the window counts no more
    ],
)
def test_half_of_the_last_calls_open_it(outcomes: str, is_open: bool) -> None:
    assert (make(outcomes).opened_at is not None) == is_open, outcomes


def test_a_success_between_starts_the_count_in_a_row_again() -> None:
    assert make("xx." + "." * WINDOW_CALLS + "xx.").allows(0.0)


def test_it_says_what_opened_it() -> None:
    assert make("xxx").evidence == "failed 3 times in a row"
    assert make(".x" * 5).evidence == "failed 5 of its last 10 calls"
    assert make("." * WINDOW_CALLS + ".x" * 10).evidence == "failed 10 of its last 20 calls"


def test_an_answer_to_a_call_from_before_the_opening_does_not_close_it() -> None:
    """Half of its calls fail: the other half, still under way, must not let all the others in again."""
    breaker = Breaker()
    early = [breaker.start_call(0.0) for _ in range(4 * MIN_CALLS)]
    for call in early[: 2 * MIN_CALLS : 2]:
        breaker.failed(0.0, call)
        breaker.succeeded(call + 1)
    assert not breaker.allows(0.0)
    for call in early[2 * MIN_CALLS :]:
        breaker.succeeded(call)
    assert not breaker.allows(0.0)
    breaker.succeeded(breaker.start_call(FIRST_COOLDOWN_S))
    assert breaker.allows(FIRST_COOLDOWN_S)


def test_a_closed_one_begins_a_new_window() -> None:
    breaker = make(".x" * (MIN_CALLS // 2))
    breaker.succeeded(breaker.start_call(FIRST_COOLDOWN_S))
    for _ in range(MIN_CALLS // 2 - 1):
        breaker.failed(3.0, breaker.start_call(3.0))
        breaker.succeeded(breaker.start_call(3.0))
    assert breaker.allows(3.0)


def test_what_tells_nothing_counts_nothing() -> None:
    breaker = Breaker()
    for _ in range(10 * FAILURES_TO_OPEN):
        breaker.inconclusive(breaker.start_call(0.0))
    assert (breaker.failures, breaker.opened_at) == (0, None)


def test_half_open_lets_one_through() -> None:
    breaker = opened(at=10.0)
    assert not breaker.allows(10.0 + FIRST_COOLDOWN_S - 0.001)
    assert breaker.allows(10.0 + FIRST_COOLDOWN_S)
    probe = breaker.start_call(10.0 + FIRST_COOLDOWN_S)
    assert not breaker.allows(10.0 + FIRST_COOLDOWN_S)
    breaker.inconclusive(
        breaker.start_call(10.0 + FIRST_COOLDOWN_S)
    )  # another, sent for want of any other replica, is no probe
    assert not breaker.allows(10.0 + FIRST_COOLDOWN_S)
    breaker.inconclusive(probe)
    assert breaker.allows(10.0 + FIRST_COOLDOWN_S)


def test_a_probe_without_a_verdict_frees_its_place() -> None:
    breaker = opened()
    breaker.inconclusive(breaker.start_call(FIRST_COOLDOWN_S))
    assert breaker.allows(FIRST_COOLDOWN_S)
    assert breaker.cooldown_s == FIRST_COOLDOWN_S


def test_a_probe_that_succeeds_closes() -> None:
    breaker = opened()
    breaker.succeeded(breaker.start_call(FIRST_COOLDOWN_S))
    assert (breaker.failures, breaker.opened_at, breaker.probe) == (0, None, 0)


def test_the_cooldown_doubles_up_to_its_limit() -> None:
    breaker, now, cooldowns = opened(), 0.0, []
    for _ in range(8):
        cooldowns.append(breaker.cooldown_s)
        now += breaker.cooldown_s
        assert breaker.allows(now)
        breaker.failed(now, breaker.start_call(now))
        assert not breaker.allows(now)
    assert cooldowns == [2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, MAX_COOLDOWN_S]
    breaker.succeeded(breaker.start_call(now))
    assert breaker.cooldown_s == FIRST_COOLDOWN_S


def test_a_call_from_before_the_opening_neither_ends_nor_fails_the_probe() -> None:
    """Of fifty calls at a dying replica the last may fail, or be left, when a probe is already under way."""
    breaker = Breaker()
    early = [breaker.start_call(0.0) for _ in range(FAILURES_TO_OPEN + 2)]
    for call in early[2:]:
        breaker.failed(0.0, call)
    assert breaker.allows(FIRST_COOLDOWN_S)
    breaker.start_call(FIRST_COOLDOWN_S)
    breaker.failed(FIRST_COOLDOWN_S, early[0])
    breaker.inconclusive(early[1])
    assert not breaker.allows(FIRST_COOLDOWN_S), "the probe is still under way"
    assert (breaker.opened_at, breaker.cooldown_s) == (0.0, FIRST_COOLDOWN_S)


def test_a_call_for_want_of_any_other_replica_is_no_probe_and_doubles_nothing() -> None:
    breaker = opened()
    for _ in range(5):
        breaker.failed(0.1, breaker.start_call(0.1))
    assert (breaker.opened_at, breaker.cooldown_s) == (0.0, FIRST_COOLDOWN_S)


def test_it_rests_only_while_nothing_is_sent() -> None:
    breaker = opened()
    assert breaker.cooling_down(0.0)
    assert not breaker.cooling_down(FIRST_COOLDOWN_S), "a request would be sent"
    probe = breaker.start_call(FIRST_COOLDOWN_S)
    assert not breaker.cooling_down(FIRST_COOLDOWN_S), "one is under way"
    breaker.succeeded(probe)
    assert not breaker.cooling_down(FIRST_COOLDOWN_S)


@pytest.mark.parametrize(("now", "left"), [(0.0, 2.0), (1.5, 0.5), (2.0, 0.0), (99.0, 0.0)])
def test_retry_after(now: float, left: float) -> None:
    assert opened().retry_after_s(now) == left
    assert Breaker().retry_after_s(now) == 0.0


class Life(RuleBasedStateMachine):
    """Any calls in any order, against a model that only counts."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 0.0
        self.calls: dict[int, bool] = {}  # is it the probe?
        self.in_a_row = 0
        self.outcomes: list[bool] = []  # of the calls since it closed; did they fail?
        self.before_opening: set[int] = set()
        self.open_until: float | None = None  # None: closed
        self.cooldown = FIRST_COOLDOWN_S

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(last_resort=st.booleans())
    def send(self, last_resort: bool) -> None:
        if self.breaker.allows(self.now) or last_resort:
            due = self.open_until is not None and self.now >= self.open_until
            is_probe = due and not any(self.calls.values())
            self.calls[self.breaker.start_call(self.now)] = is_probe

    def _end(self, data: st.DataObject) -> tuple[int, bool]:
        call = data.draw(st.sampled_from(sorted(self.calls)))
        return call, self.calls.pop(call)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        call, _ = self._end(data)
        self.breaker.succeeded(call)
        if self.open_until is None:
            self.in_a_row = 0
            self.outcomes.append(False)
        elif call not in self.before_opening:
            self.in_a_row, self.outcomes, self.open_until, self.cooldown = 0, [], None, FIRST_COOLDOWN_S
            self.calls = dict.fromkeys(self.calls, False)  # what was a probe is an ordinary call now

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        call, was_probe = self._end(data)
        self.breaker.failed(self.now, call)
        self.in_a_row += 1
        if self.open_until is None:
            self.outcomes.append(True)
            last = self.outcomes[-WINDOW_CALLS:]
            if self.in_a_row >= FAILURES_TO_OPEN or (len(last) >= MIN_CALLS and 2 * sum(last) >= len(last)):
                self.open_until = self.now + self.cooldown
                self.before_opening = set(self.calls)
        elif was_probe:
            self.cooldown = min(2 * self.cooldown, MAX_COOLDOWN_S)
            self.open_until = self.now + self.cooldown

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def end_without_a_verdict(self, data: st.DataObject) -> None:
        self.breaker.inconclusive(self._end(data)[0])

    @invariant()
    def agrees_with_the_model(self) -> None:
        closed = self.open_until is None
        half_open = not closed and self.now >= self.open_until and not any(self.calls.values())
        assert self.breaker.allows(self.now) == (closed or half_open)
        assert self.breaker.retry_after_s(self.now) == (0.0 if closed else max(0.0, self.open_until - self.now))


TestLife = Life.TestCase
