"""Every scenario of the fault wall: it ends as it must, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.conftest import Case, Running, spare_lane
from tests.chaos.wall.report import Row
from tests.chaos.wall.scenario import Stage, Verdict
from tests.support.behaviours import HANG, raw
from tests.support.caller import Caller
from tests.support.lanes import Lane


def test_it_ends_as_it_must_and_leaves_nothing(
    case: Case, running: Running, lane: Lane, rows: list[Row], tmp_path: Path
) -> None:
    verdict = Verdict.FAIL
    try:
        reached = case.scenario.play(Stage(lane, case.mode, tmp_path, running.remains.assert_nothing))
        running.remains.assert_nothing()
        verdict = reached
    finally:
        rows.append(Row(case.group, case.scenario.name, case.mode, verdict))
    assert verdict >= case.scenario.required, f"{verdict}, and must be {case.scenario.required}"


def test_what_is_held_is_seen(running: Running) -> None:
    """The watch after each scenario is not blind: a request under way is a slot, a lease, sockets and tasks."""
    lane = spare_lane(running)
    lane.slm.then(raw(HANG))
    before = len(lane.slm.calls)
    with Caller(running.gateway, lane.body("slm")):
        call = lane.slm.wait_for_calls(before + 1)[-1]
        more = running.remains.held_beyond()
        assert "1 requests admitted" in more
        assert f"1 requests in flight at {lane.name('slm')}" in more
        assert "2 more sockets" in more
        assert "more tasks of" in more
        assert running.upstream.running() == [call]
    running.remains.assert_nothing()
