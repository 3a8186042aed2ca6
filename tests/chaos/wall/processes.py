"""The gateway's own processes end: at a signal while answers are under way, or killed. Each has its own gateway."""

from __future__ import annotations

import http.client
import os
import signal

from tests.chaos.wall.scenario import Scenario, Stage, Verdict
from tests.support.behaviours import HANG, Gate, raw, stream
from tests.support.caller import Caller
from tests.support.gateway import Gateway
from tests.support.lanes import Lane, Plan, models_yaml, usual
from tests.support.processes import wait_until_gone
from tests.support.stream_events import DONE, delta, finished, first
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until
from tests.support.workers import children, one_each, workers


def nothing(_plan: Plan) -> None:
    """These scenarios have models of their own."""


def _own(stage: Stage, upstream: Upstream, *args: str, **env: str) -> Gateway:
    return Gateway(models_yaml(upstream, 1, usual), stage.folder, args=args, env=env)


def _worker_killed(stage: Stage) -> Verdict:
    """Its own answers break off, and can be seen to; those of the other worker go on; another takes its place."""
    gate = Gate()
    with Upstream() as upstream, _own(stage, upstream, "--workers=2") as gateway, one_each(gateway) as [victim, other]:
        lane = Lane(0, gateway, upstream)
        lane.slm.then(*[stream(first(), delta("held"), gate, finished(), DONE)] * 2)
        broken, kept = (connection.post(lane.body(stream=True)) for connection in (victim, other))
        lane.slm.wait_for_calls(2)
        os.kill(victim.pid, signal.SIGKILL)
        try:
            broken.read()
        except (http.client.IncompleteRead, ConnectionError):
            seen = True
        else:
            seen = False
        assert seen, "a truncated answer looks like a whole one"
        wait_until(lambda: len(workers(gateway)) == 2, "another worker takes its place")
        wait_until(lambda: lane.counter("replica_in_flight", model="slm-0") == 1, "its lease is free again")
        assert lane.chat().text == "Paris."
        gate.set()
        assert b"data: [DONE]" in kept.read()
        gateway.assert_idle()
    return Verdict.PASS


def _terminated(stage: Stage) -> Verdict:
    """SIGTERM: what is under way gets its end, then the process ends."""
    gate = Gate()
    with Upstream() as upstream, _own(stage, upstream) as gateway:
        lane = Lane(0, gateway, upstream)
        lane.slm.then(stream(first(), delta("begun"), gate, delta(" and done"), finished(), DONE))
        with Caller(gateway, lane.body(stream=True)) as caller:
            caller.read_until(b'"begun"')
            gateway.terminate()
            gate.set()
            assert b" and done" in caller.read_until(b"data: [DONE]")
        assert gateway.wait() in (0, -signal.SIGTERM)
    return Verdict.PASS


def _grace_over(stage: Stage) -> Verdict:
    """SIGTERM, and the upstream stays silent: after the grace the client gets an error, not silence."""
    with Upstream() as upstream, _own(stage, upstream, SMALLFIRST_SHUTDOWN_GRACE_S="0.5") as gateway:
        lane = Lane(0, gateway, upstream)
        lane.slm.then(stream(first(), delta("begun"), HANG) if stage.streamed else raw(HANG))
        with Caller(gateway, lane.body(stream=stage.streamed)) as caller:
            lane.slm.wait_for_calls(1)
            if stage.streamed:
                caller.read_until(b'"begun"')
            gateway.terminate()
            received = caller.read_until(b'"shutting_down"')
            assert b"[DONE]" not in received
        assert gateway.wait() in (0, -signal.SIGTERM)
        lane.slm.last.wait_closed()
    return Verdict.PASS


def _parent_killed(stage: Stage) -> Verdict:
    """kill -9 of the parent: its workers finish what they do, and no process is left."""
    gate = Gate()
    with Upstream() as upstream, _own(stage, upstream, "--workers=2") as gateway, one_each(gateway) as [one, _other]:
        lane = Lane(0, gateway, upstream)
        everybody = children(gateway)
        lane.slm.then(stream(first(), delta("begun"), gate, finished(), DONE))
        answer = one.post(lane.body(stream=True))
        gateway.kill()
        gate.set()
        assert b"data: [DONE]" in answer.read()
        one.close()
        wait_until_gone(everybody)
    return Verdict.PASS


SCENARIOS: list[Scenario] = [
    Scenario("a worker is killed", _worker_killed, nothing, ("streamed",)),
    Scenario("SIGTERM while an answer is under way", _terminated, nothing, ("streamed",)),
    Scenario("SIGTERM, and the grace is over", _grace_over, nothing),
    Scenario("the parent of the workers is killed", _parent_killed, nothing, ("streamed",)),
]
