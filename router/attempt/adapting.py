"""How one model is asked: adapted by its profile, and by what its refusals of this very request say."""

from __future__ import annotations

from typing import Any

from router.errors import UpstreamRejected
from router.messages.assembled import as_whole
from router.messages.token_limit import TOKEN_LIMITS, with_token_limit
from router.profile import room
from router.profile.adaptation import Adaptation
from router.profile.apply import NEEDS, apply, apply_all
from router.profile.learned import LearnedProfiles
from router.profile.profile import Profile
from router.profile.refusal import Proposal, is_about_format, proposals, words_of
from router.profile.schema_forms import digest
from router.structured.request.output_format import FORMAT_FIELDS, format_fields
from router.structured.request.tools import CALL_FIELDS
from router.types import ChatCall

_FORMAT_FIELDS = frozenset(FORMAT_FIELDS)
MAX_ASKED_AGAIN = 8
"""requests that are refused one after the other cost little, but each costs a round trip"""


class Adapting:
    """One model in one request. A changed request that the upstream took is remembered for the next ones."""

    __slots__ = (
        "_asked_again",
        "_call",
        "_fields",
        "_model",
        "_profile",
        "_profiles",
        "_refused",
        "_tried",
        "asked",
        "trial"
    )  # fmt: skip

    def __init__(self, profiles: LearnedProfiles, model: str, call: ChatCall, now: float) -> None:
        self._profiles, self._model, self._call = profiles, model, call
        self._profile = profiles.of(model, now)
        self.asked = call
        self._fields: dict[str, Any] = {}  # as they were sent last
        self.trial: list[Proposal] = []
        """what is changed because this request was refused"""
        self._tried: set[Proposal] = set()
        self._refused: tuple[str, str] | None = None
        self._asked_again = 0

    @property
    def refuses_format(self) -> bool:
        """Return whether the upstream refused the requested format before, so that decoding cannot enforce it."""
        unenforced = self._profile.unenforced
        return bool(unenforced) and _format_digest(self._call) in unenforced

    def prepare(self, asked: ChatCall) -> ChatCall:
        """Return the call to ask with. Its limit on tokens fits into the context, unless the client forbids that."""
        self.asked = asked
        if (limit := room.room(asked, self._profile.context)) and not self._may_not_clamp:
            self.asked = with_token_limit(asked, limit)
        return self.asked

    def write(self, fields: dict[str, Any]) -> tuple[str, ...]:
        """Adapt the fields that are about to be sent; return what was changed, such as `temperature=dropped`."""
        changes: list[str] = []
        if self.asked is not self._call:
            asked, wanted = self.asked.body, self._call.body
            changes += [
                f"{name}={limit}"
                for name in TOKEN_LIMITS
                if (limit := asked.get(name)) is not None and limit != wanted.get(name)
            ]
            if _has_format(self._call) and not _has_format(self.asked):
                changes += [f"{name}=in_words" for name in format_fields(self._call.body)]
        if self._profile.changes_fields:
            changes += apply(self._profile, fields, self._call.body)
        if self.trial:
            changes += apply(Profile.of([one for proposal in self.trial for one in proposal]), fields, self._call.body)
        self._fields = fields
        return tuple(changes)

    def may_ask_again(self, error: UpstreamRejected) -> bool:
        """Return whether the same model is to be asked once more, with something else changed after this refusal."""
        if error.status == 429 or self._asked_again == MAX_ASKED_AGAIN:
            return False
        self._asked_again += 1
        if self.asked.is_assembled and "stream" in " ".join(words_of(error)).casefold():
            self.asked = as_whole(self.asked)  # that we read it as a stream was our idea
            return True
        if self._has_room_after(error):
            return True
        if error.code == "context_length_exceeded":
            return False
        refused = words_of(error)
        if refused == self._refused and self.trial:
            self.trial.pop()  # that was not it
        self._refused = refused
        for proposal in proposals(error, self._fields):
            if proposal not in self._tried and apply_all(Profile.of(proposal), dict(self._fields)):
                self._tried.add(proposal)
                self.trial.append(proposal)
                return True
        return False

    def read(self, error: UpstreamRejected) -> UpstreamRejected:
        """Return the refusal, as one of the requested format if its words are about that.

        Servers differ in the schemas that they take: the retry describes the format in the prompt.
        """
        is_known = error.code == "context_length_exceeded" or error.status == 429
        if not is_known and _has_format(self.asked) and is_about_format(error):
            error.code = "unsupported_schema"  # only for us: the client gets the upstream's own
        return error

    def remember(self, now: float, *, format_refused: bool) -> None:
        """Remember with which adaptations the upstream took the request."""
        if not self.trial and not format_refused:
            return
        learned = [one for proposal in self.trial for one in proposal if self._holds_for_others(one)]
        if format_refused and not self.refuses_format:
            learned.append(Adaptation("unenforced", _format_digest(self._call)))
        if learned:
            self._profiles.learn(self._model, learned, now)

    def _holds_for_others(self, one: Adaptation) -> bool:
        """Return whether other requests need it, too: some fields are refused only because there are no tools."""
        lacks_tools = one.what in NEEDS["tools"] and "tools" not in self._fields
        return not (lacks_tools and self._refused and "tools" in self._refused[0])

    @property
    def _may_not_clamp(self) -> bool:
        return self._call.routing.clamp_max_tokens is False

    def _has_room_after(self, error: UpstreamRejected) -> bool:
        if self._may_not_clamp or (limit := room.room_after(error, self.asked)) is None:
            return False
        self.asked = with_token_limit(self.asked, limit)
        context = room.told(error).context
        if self._profile.context is None and context is not None:
            self.trial.append((Adaptation("context", "context", context),))
        return True


def _has_format(call: ChatCall) -> bool:
    return not _FORMAT_FIELDS.isdisjoint(call.body)


def _format_digest(call: ChatCall) -> str:
    return digest({name: call.body[name] for name in (*FORMAT_FIELDS, *CALL_FIELDS) if name in call.body})
