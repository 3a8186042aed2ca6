"""The conversations that are asked: random words, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

SYSTEM_WORDS, TURN_WORDS = 220, 160
TEXT = (
    "order ticket customer invoice delivery warehouse street answer question number letter account balance refund "
    "engine window garden river mountain village teacher doctor student market bridge station train morning evening "
    "summer winter yellow green silver copper paper pencil table kitchen bottle basket apple orange cherry bread"
)


class Script(NamedTuple):
    """What a client says in one conversation."""

    system: str
    turns: Sequence[str]
    pauses_s: Sequence[float]
    """before each turn"""


def scripts(conversations: int, turns: int, agents: int, think_s: float) -> list[Script]:
    """Return the conversations. Each belongs to one of the agents, whose system prompt it begins with.

    `think_s` is the mean of the pauses. Without pauses, load alone would bring most turns back to their replica: it is
    the one that has just become free.
    """
    chance, words_of_text = random.Random(14), TEXT.split()

    def say(words: int) -> str:
        return " ".join(chance.choices(words_of_text, k=words)).capitalize() + "."

    systems = [say(SYSTEM_WORDS) for _ in range(agents)]
    return [
        Script(
            systems[one % agents],
            [say(TURN_WORDS) for _ in range(turns)],
            [chance.expovariate(1 / think_s) for _ in range(turns)],
        )
        for one in range(conversations)
    ]
