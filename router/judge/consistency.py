"""Which of several answers do most agree with? Self-consistency (Wang et al., arXiv 2203.11171, section 2). Pure.

The share of the samples that agree is a confidence, too, for engines that tell no logprobs. Answers agree that a
program would take for the same: calls by names and arguments, in any order; JSON by its values; text without case and
white space. Longer free text hardly ever agrees, and has no confidence of this kind.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from math import log
from typing import Any

import msgspec
from msgspec import Struct

from router.messages import strict_json
from router.messages.choice import Choice, Function, normalized

INCOMPLETE_REASONS = ("length", "content_filter")


class Vote(Struct, frozen=True):
    """The result of a vote."""

    index: int
    """place of the first answer that most agree with; the first of all where no answer counts"""
    votes: int
    """how many agree, itself included; 0: no answer counts"""
    of: int
    """how many were asked"""

    @property
    def share(self) -> float:
        """Return the share of the answers that agree."""
        return self.votes / self.of


def vote(choices: Sequence[Mapping[str, Any]]) -> Vote:
    """Return which of at least one answer most agree with; of two with as many votes the one that was given first.

    An answer that is empty, cut, or calls with something that is no JSON object agrees with none, not even itself.
    """
    answers = [_comparison_key(choice) for choice in choices]
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return Vote(0, 0, len(answers))
    winner, count = votes.most_common(1)[0]
    return Vote(answers.index(winner), count, len(answers))


def score(result: Vote) -> float:
    """Return the log-odds that one more answer would agree: by the rule of succession P = (votes + 1) / (of + 2).

    Laplace, Essai philosophique sur les probabilites, 1814. Without it, five of five would be certain.
    """
    return log((result.votes + 1) / (result.of - result.votes + 1))


def _comparison_key(choice: Mapping[str, Any]) -> Hashable | None:
    """Return what is the same for answers that agree; None: it agrees with none."""
    try:
        said = msgspec.convert(choice, Choice)
        calls = tuple(sorted((function.name, _arguments(function)) for function in said.functions))
    except (msgspec.ValidationError, strict_json.NotJson):
        return None
    if said.finish_reason in INCOMPLETE_REASONS:
        return None
    return calls or _meaning(said.answer_text) or None


def _arguments(function: Function) -> str:
    value = strict_json.loads(function.arguments or "{}", unique_keys=True)
    if not isinstance(value, dict):
        raise strict_json.NotJson("not an object")
    return _canonical_json(value)


def _meaning(text: str) -> str:
    try:
        return _canonical_json(strict_json.loads(text, unique_keys=True))
    except strict_json.NotJson:
        return normalized(text)


def _canonical_json(value: object) -> str:
    return json.dumps(_with_whole_numbers(value), sort_keys=True)


def _with_whole_numbers(value: object) -> object:
    """Return a value with whole numbers as integers: 1 and 1.0 are one value in JSON, true is another."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
