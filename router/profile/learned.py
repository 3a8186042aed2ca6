"""What the upstreams' refusals have taught, shared by all workers.

Each model has a page of shared memory with a list in JSON. A worker reads a page again only when its version changes.
An entry is forgotten after a while, or when the server comes back after it was down: the upstream's model or its
options may be others by then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from router.config.models import Model
from router.profile.adaptation import Adaptation
from router.profile.profile import Profile, declared
from router.replicas.shared_memory import CELL_BYTES, Lock, cells

log = logging.getLogger("smallfirst.profile")

LEARNED_FOR_S = 3600.0
MISCONFIGURED_FOR_S = 600.0
PAGE_BYTES = 32 * 1024
MAX_ENTRIES = 200
"""of one model; the oldest is forgotten first"""
_VERSION, _LENGTH, _TEXT = 0, 1, 2
_MISCONFIGURED = "misconfigured"


class Entry(NamedTuple):
    """One line of a page. `until` is seconds of the monotonic clock, which all processes share."""

    kind: str
    what: str
    value: Any
    until: float


class LearnedProfiles:
    """The profiles of all models. Create it before the workers are forked."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._lock = Lock()
        self._pages = {name: _Page(model, self._lock) for name, model in models.items()}

    def of(self, model: str, now: float) -> Profile:
        """Return the profile of a model."""
        return self._pages[model].profile(now)

    def learn(self, model: str, adaptations: Iterable[Adaptation], now: float) -> None:
        """Remember adaptations with which a request was taken."""
        page = self._pages[model]
        known = [entry[:3] for entry in page.entries(now)]
        new = [Entry(*one, now + LEARNED_FOR_S) for one in adaptations if one not in known]
        if new:
            page.add(new, now)
            log.warning("%s: learned from its refusals: %s", model, ", ".join(_text(entry) for entry in new))

    def forget(self, model: str) -> None:
        """Forget what was learned of a model: its server was restarted, perhaps with another model or other options."""
        self._pages[model].clear()

    def note_misconfigured(self, model: str, kind: str, message: str, now: float) -> None:
        """Remember that the operator must mend something; the log says it once, until it is forgotten."""
        page = self._pages[model]
        is_known = any(entry.kind == _MISCONFIGURED and entry.what == kind for entry in page.entries(now))
        page.add([Entry(_MISCONFIGURED, kind, message, now + MISCONFIGURED_FOR_S)], now)
        if not is_known:
            log.error("%s is not set up as requests need it: %s: %s", model, kind, message)

    def lines(self, model: str, now: float) -> tuple[Sequence[str], Sequence[str]]:
        """Return what `/ready` says: what was learned, and what the operator must mend."""
        entries = self._pages[model].entries(now)
        return (
            [_text(entry) for entry in entries if entry.kind != _MISCONFIGURED],
            [f"{entry.what}: {entry.value}" for entry in entries if entry.kind == _MISCONFIGURED],
        )


class _Page:
    def __init__(self, model: Model, lock: Lock) -> None:
        self._declared = declared(model)
        self._lock = lock
        self._cells = cells(_TEXT + PAGE_BYTES // CELL_BYTES)
        self._text = self._cells[_TEXT:].cast("B")
        self._seen = -1
        self._entries: list[Entry] = []
        self._profile = Profile.of(self._declared)
        self._valid_until = 0.0

    def profile(self, now: float) -> Profile:
        if self._seen != self._cells[_VERSION] or (self._entries and now >= self._valid_until):
            self.entries(now)
        return self._profile

    def entries(self, now: float) -> list[Entry]:
        """Return the entries that are not forgotten yet."""
        with self._lock:
            return self._read(now)

    def _read(self, now: float) -> list[Entry]:
        """Read the page. The caller holds the lock."""
        version = self._cells[_VERSION]
        text = bytes(self._text[: self._cells[_LENGTH]])
        found = [Entry(*one) for one in msgspec.json.decode(text)] if text else []
        self._entries = [entry for entry in found if entry.until > now]
        self._seen = version
        self._valid_until = min((entry.until for entry in self._entries), default=0.0)
        learned = [
            Adaptation(entry.kind, entry.what, entry.value)  # type: ignore[arg-type]
            for entry in self._entries
            if entry.kind != _MISCONFIGURED
        ]
        self._profile = Profile.of([*learned, *self._declared])
        return self._entries

    def clear(self) -> None:
        """Remove all entries."""
        with self._lock:
            self._cells[_LENGTH] = 0
            self._cells[_VERSION] += 1

    def add(self, new: Sequence[Entry], now: float) -> None:
        """Add entries in place of older ones about the same."""
        about = {entry[:2] for entry in new}
        with self._lock:
            kept = [entry for entry in self._read(now) if entry[:2] not in about] + list(new)
            kept = kept[-MAX_ENTRIES:]
            while len(text := msgspec.json.encode(kept)) > PAGE_BYTES:
                kept = kept[1:]
            self._text[: len(text)] = text
            self._cells[_LENGTH] = len(text)
            self._cells[_VERSION] += 1


def _text(entry: Entry) -> str:
    return Adaptation(entry.kind, entry.what, entry.value).text  # type: ignore[arg-type]
