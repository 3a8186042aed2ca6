"""Which conversations were escalated, and to which model. All workers share it, in memory of a fixed size.

A turn is found by the next turn's history (`router.messages.conversation`). An entry is forgotten after `IDLE_S`, or
when newer ones need its place.
"""

from __future__ import annotations

from contextlib import nullcontext

from router.attempt.ladder import ABOUT_THE_ANSWER
from router.config.models import Route
from router.decision import Escalated
from router.messages.conversation import earlier_turn_key, turn_key
from router.record import RequestRecord
from router.replicas.shared_memory import Lock, cells
from router.types import NANO, ChatCall, EscalationReason

REMEMBERED: frozenset[EscalationReason] = ABOUT_THE_ANSWER | {
    "only_thoughts",
    "empty",
    "context",
    "ability",
    "rejected",
}
"""why the lower model failed the conversation; that it was down or busy says nothing of the next turn"""
IDLE_S = 600.0
"""after so long without a turn, prefix caches have lost the conversation: it begins like a new one"""
SETS, WAYS = 2048, 8
"""a key has `WAYS` places, of which the oldest is overwritten"""
KEY, AT, MODEL, TIMES, TURNS, ENTRY = range(6)  # the cells of an entry and their number; AT: when, in nanoseconds


class Conversations:
    """Escalated turns by their keys. It is created before the fork. Times are seconds of the monotonic clock."""

    def __init__(self, workers: int = 1) -> None:
        self._cells = cells(SETS * WAYS * ENTRY + 1)  # the last one: when a turn was noted last
        self._lock = Lock() if workers > 1 else nullcontext()

    def recall(self, call: ChatCall, route: Route, record: RequestRecord, now: float) -> Escalated | None:
        """Return what is known of the conversation from its turn before this one."""
        if now - self._cells[-1] / NANO > IDLE_S or len(route.rungs) == 1:
            return None
        if (key := earlier_turn_key(call, record.session)) is None:
            return None
        places = _places(key)
        with self._lock:
            entries = self._cells[places.start : places.stop].tolist()
        keys = entries[KEY::ENTRY]
        if key not in keys:
            return None
        at = keys.index(key) * ENTRY
        _, noted, model, times, turns = entries[at : at + ENTRY]
        return Escalated(route.ladder[model].name, times, turns) if now - noted / NANO <= IDLE_S else None

    def note(self, call: ChatCall, route: Route, record: RequestRecord, now: float) -> None:
        """Remember a turn that is answered, if it was escalated, or answered where an earlier turn was escalated to."""
        known = _after(record)
        if known is None or not call.endpoint.has_messages:
            return
        key = turn_key(call, record.session)
        model = next(at for at, one in enumerate(route.ladder) if one.name == known.model)
        with self._lock:
            place = min(_places(key), key=lambda at: (self._cells[at + KEY] != key, self._cells[at + AT]))
            self._cells[place + KEY] = 0  # a worker that dies in between leaves an entry that nobody finds
            for cell, value in enumerate((round(now * NANO), model, known.times, known.turns), AT):
                self._cells[place + cell] = value
            self._cells[place + KEY] = key
            self._cells[-1] = round(now * NANO)


def _places(key: int) -> range:
    """Return where the entries of a key's set begin."""
    start = key % SETS * WAYS * ENTRY
    return range(start, start + WAYS * ENTRY, ENTRY)


def _after(record: RequestRecord) -> Escalated | None:
    """Return what is known of the conversation after this request, or None if it did not stay and was not escalated."""
    if record.best_effort:
        return None
    before = record.escalated
    for step in reversed(record.escalations):
        if step.reason in REMEMBERED:
            return Escalated(step.to_model, before.times + 1 if before else 1, 0)
    return before._replace(turns=before.turns + 1) if before and before.model == record.model else None
