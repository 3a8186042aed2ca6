"""One fault scenario: what goes wrong, what the client asks, and what must hold."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.chaos.wall.outcome import Outcome, read
from tests.support.behaviours import Behaviour
from tests.support.lanes import Lane, Plan, usual
from tests.support.upstream import Site

Mode = Literal["whole", "streamed"]
BOTH: tuple[Mode, ...] = ("whole", "streamed")


class Verdict(enum.IntEnum):
    """How a scenario ended, the worst first."""

    FAIL = 0
    SAFE = 1
    """an honest error"""
    PARTIAL = 2
    """an answer with a loss that is said"""
    PASS = 3
    """a complete and right answer, or exactly the error that is right for it"""

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Stage:
    """Where one scenario is played, in one mode."""

    lane: Lane
    mode: Mode
    folder: Path
    settle: Callable[[], None]
    """waits until the gateway holds nothing any more"""

    @property
    def streamed(self) -> bool:
        return self.mode == "streamed"

    def ask(self, route: str = "auto", **fields: Any) -> Outcome:
        """Ask as the mode says, and read the answer to its end."""
        return read(self.lane.stream(route, **fields) if self.streamed else self.lane.chat(route, **fields))

    def site(self, name: str) -> Site:
        """Return the site of a model, or of one replica: `slm`, `pair:a`."""
        return self.lane.site(*name.split(":"))


Check = Callable[[Outcome], Verdict]
"""judges an answer; raises AssertionError for what must never be"""
Also = Callable[[Stage, Outcome], None]
"""asserts what else must hold"""


@dataclass(frozen=True)
class Scenario:
    """A fault. `play` makes it happen and judges what came of it."""

    name: str
    play: Callable[[Stage], Verdict]
    describe: Callable[[Plan], None] = usual
    modes: tuple[Mode, ...] = BOTH
    required: Verdict = Verdict.PASS


Sites = Mapping[str, Behaviour | tuple[Behaviour, ...]]
"""what each site does: one thing always, or those of a tuple one after the other and then answer"""


@dataclass(frozen=True)
class _Fault:
    sites: Sites | Callable[[], Sites]
    wants: Check
    route: str = "auto"
    asks: Mapping[str, Any] = field(default_factory=dict)
    also: Also | None = None

    def __call__(self, stage: Stage) -> Verdict:
        sites = self.sites() if callable(self.sites) else self.sites
        for name, behaviour in sites.items():
            if isinstance(behaviour, tuple):
                stage.site(name).then(*behaviour)
            else:
                stage.site(name).always(behaviour)
        outcome = stage.ask(self.route, **self.asks)
        verdict = self.wants(outcome)
        if self.also and verdict > Verdict.SAFE:
            self.also(stage, outcome)
        return verdict


def fault(
    name: str,
    sites: Sites | Callable[[], Sites],
    wants: Check,
    *,
    describe: Callable[[Plan], None] = usual,
    route: str = "auto",
    asks: Mapping[str, Any] | None = None,
    also: Also | None = None,
    modes: tuple[Mode, ...] = BOTH,
    required: Verdict = Verdict.PASS,
) -> Scenario:
    """Return a scenario of one request. `sites` as a function makes them anew for each mode."""
    return Scenario(name, _Fault(sites, wants, route, asks or {}, also), describe, modes, required)


def says(text: str | None = "Paris.", *, finish: str = "stop", by: str | None = None) -> Check:
    """A complete answer with this text, from this model.

    An error in its place is safe. So is a stream that ends with one, if what came before it is right.
    """

    def check(outcome: Outcome) -> Verdict:
        if outcome.error is not None:
            assert (text or "").startswith(outcome.text), f"said {outcome.text[:200]!r} before its error"
            assert outcome.error["code"] != "internal_error", outcome.error
            return Verdict.SAFE
        assert outcome.text == (text or ""), f"said {outcome.text[:200]!r}"
        assert outcome.finish == [finish], f"ended with {outcome.finish}"
        if by is not None:
            assert outcome.model.rpartition("-")[0] == by, f"{outcome.model} answered"
        return Verdict.PASS

    return check


def refuses(status: int, code: str | None = None, *, words: str = "", retry_after: bool = False) -> Check:
    """An error before the first byte with this status and code, and these words in its message."""

    def check(outcome: Outcome) -> Verdict:
        assert outcome.error is not None, f"answered with {outcome.text[:200]!r}"
        assert outcome.error["code"] != "internal_error", outcome.error
        right = outcome.status == status and outcome.error["code"] == code and words in outcome.error["message"]
        if retry_after:
            right = right and int(outcome.headers.get("retry-after", 0)) >= 1
        return Verdict.PASS if right else Verdict.SAFE

    return check


def breaks_off(text: str, code: str) -> Check:
    """A stream that ends with an error event after this text, as nobody can go on. Whole, the error is all there is."""

    def check(outcome: Outcome) -> Verdict:
        assert outcome.error is not None, f"ended as if it were whole: {outcome.text[:200]!r}"
        assert outcome.text in (text, ""), f"said {outcome.text[:200]!r}"
        return Verdict.PASS if outcome.error["code"] == code else Verdict.SAFE

    return check


def calls(*wanted: tuple[str, dict[str, Any]], by: str | None = None) -> Check:
    """A complete answer with just these function calls (name, arguments)."""

    def check(outcome: Outcome) -> Verdict:
        if outcome.error is not None:
            assert outcome.error["code"] != "internal_error", outcome.error
            return Verdict.SAFE
        assert [(call.name, call.read()) for call in outcome.calls] == list(wanted)
        assert len({call.id for call in outcome.calls}) == len(wanted), "each call has an id of its own"
        assert outcome.finish in (["tool_calls"], ["stop"]), f"ended with {outcome.finish}"  # OpenAI says both
        if by is not None:
            assert outcome.model.rpartition("-")[0] == by, f"{outcome.model} answered"
        return Verdict.PASS

    return check


def asked(**counts: int) -> Also:
    """Each of these sites was asked so often. A replica is written `pair_a`."""

    def also(stage: Stage, _outcome: Outcome) -> None:
        found = {name: stage.site(name.replace("_", ":")).asked for name in counts}
        assert found == counts, f"asked {found}"

    return also


def every(*checks: Also) -> Also:
    """All of these."""

    def also(stage: Stage, outcome: Outcome) -> None:
        for check in checks:
            check(stage, outcome)

    return also


def header(name: str, *parts: str) -> Also:
    """The header `x-smallfirst-NAME` has these parts."""

    def also(_stage: Stage, outcome: Outcome) -> None:
        found = outcome.headers.get(f"x-smallfirst-{name}", "")
        assert all(part in found for part in parts), f"x-smallfirst-{name}: {found!r}"

    return also
