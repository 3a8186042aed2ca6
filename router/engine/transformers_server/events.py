"""What a generation reports, token by token. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class TokenLogprob(NamedTuple):
    """The logprob of a token, or of an alternative to it."""

    text: str
    logprob: float


class Token(NamedTuple):
    """A generated token. `text` is what may be sent after it: nothing within a character or a stop string."""

    choice: int
    text: str
    logprob: TokenLogprob | None = None
    alternatives: Sequence[TokenLogprob] = ()


class Finished(NamedTuple):
    """The end of one choice. `text` was held back until then."""

    choice: int
    text: str
    reason: str
    tokens: int


Event = Token | Finished
