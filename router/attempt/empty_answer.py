"""An answer that has nothing for its reader: may the same model get more room for another one? Pure."""

from __future__ import annotations

from msgspec import Struct

from router.config.models import Model
from router.errors import AnswerEmpty
from router.messages.visible import Visible
from router.structured.contract import OutputContract
from router.structured.engine.constrained_call import ROOM_FACTOR
from router.types import ChatCall, Usage

LEAST_ROOM_FACTOR = 1.25
"""thoughts that filled the limit seldom end just behind it"""


class Expectation(Struct, frozen=True):
    """What an answer of one attempt has to have."""

    call: ChatCall
    model: Model
    is_free: bool
    """no format is asked for, and no call is required"""
    begins_inside_thoughts: set[str]
    """models whose answers have the end of their thoughts in the content, without the beginning; answers add to it"""

    @classmethod
    def of(cls, call: ChatCall, model: Model, contract: OutputContract | None, learned: set[str]) -> Expectation:
        """Return what an answer has to have; `learned`: see `begins_inside_thoughts`."""
        return cls(call, model, contract is None or contract.is_free, learned)

    def learn_thoughts(self, *, begins_inside: bool) -> None:
        """Remember whether this model's answers begin inside their thoughts."""
        change = self.begins_inside_thoughts.add if begins_inside else self.begins_inside_thoughts.discard
        change(self.model.name)

    def fault(self, visible: Visible, usage: Usage | None) -> AnswerEmpty | None:
        """Return the error of an answer that is empty, or None.

        What has a format is checked for it, and an empty answer does not have it; but one that was cut is not checked.
        """
        if visible.found or not self.call.endpoint.has_messages or not (self.is_free or visible.is_cut):
            return None
        what = "only thoughts" if visible.has_thoughts else "no visible character"
        cut = ", and was cut at the token limit" if visible.is_cut else ""
        return AnswerEmpty(
            f"The answer of model '{self.model.name}' has {what}{cut}.",
            only_thoughts=visible.has_thoughts,
            room=self._room(usage) if visible.is_cut else None,
        )

    def _room(self, usage: Usage | None) -> int | None:
        """Return a higher token limit than the client's, as far as the context has room; None: there is none.

        A client that accepts cut answers (`routing.on_truncation`) pays for no more than its limit.
        """
        limit = self.call.max_tokens
        if limit is None or self.call.routing.on_truncation == "accept":
            return None
        room = limit * ROOM_FACTOR
        if self.model.context is not None:
            room = min(room, self.model.context - (usage.prompt if usage else 0))
        return room if room >= limit * LEAST_ROOM_FACTOR else None
