"""All scenarios of the fault wall, by what fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.chaos.wall import (
    answers,
    at_once,
    clients,
    connections,
    endless,
    events,
    formats,
    function_calls,
    midstream,
    processes,
    refusals,
    replicas,
    requests,
    silence,
    statuses,
)
from tests.chaos.wall.scenario import Scenario

SCENARIOS: Mapping[str, Sequence[Scenario]] = {
    "connections": connections.SCENARIOS,
    "error statuses": statuses.SCENARIOS,
    "silence": silence.SCENARIOS,
    "refusals": refusals.SCENARIOS,
    "answers that are none": answers.SCENARIOS,
    "events of streams": events.SCENARIOS,
    "streams that break off": midstream.SCENARIOS,
    "function calls": function_calls.SCENARIOS,
    "formats": formats.SCENARIOS,
    "answers without end": endless.SCENARIOS,
    "replicas": replicas.SCENARIOS,
    "requests": requests.SCENARIOS,
    "clients": clients.SCENARIOS,
    "processes": processes.SCENARIOS,
    "everything at once": at_once.SCENARIOS,
}
