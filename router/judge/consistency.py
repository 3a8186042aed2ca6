"""Self-consistency: choose the answer that most samples agree on (Wang et al., arXiv 2203.11171, section 2). Pure.

The share of samples that agree is also a confidence, for engines without logprobs. Tool calls agree if their names and
arguments are equal, in any order. JSON agrees if its values are equal. Text agrees if it is equal without case and
white space. Longer free text hardly ever agrees, so this confidence does not suit it.
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
    """index of the first answer with the most votes; 0 if no answer counts"""
    votes: int
    """the number of answers that agree with it, including itself; 0: no answer counts"""
    total: int
    """the number of answers"""

    @property
    def share(self) -> float:
        """Return the share of the answers that agree."""
        return self.votes / self.total


def vote(choices: Sequence[Mapping[str, Any]]) -> Vote:
    """Return the answer with the most votes; of two with as many votes, the first. There must be at least one answer.

    An answer does not count if it is empty or truncated, or if the arguments of a call are not a JSON object.
    """
    answers = [_comparison_key(choice) for choice in choices]
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return Vote(0, 0, len(answers))
    winner, count = votes.most_common(1)[0]
    return Vote(answers.index(winner), count, len(answers))


def score(result: Vote) -> float:
    """Return the log-odds that one more answer would agree.

    The rule of succession gives P = (votes + 1) / (total + 2) (Laplace, Essai philosophique sur les probabilites,
    1814). Without it, five of five would be certain.
    """
    return log((result.votes + 1) / (result.total - result.votes + 1))


def _comparison_key(choice: Mapping[str, Any]) -> Hashable | None:
    """Return a key that is equal for answers that agree, or None if the answer does not count."""
    try:
        parsed = msgspec.convert(choice, Choice)
        calls = tuple(sorted((function.name, _arguments(function)) for function in parsed.functions))
    except (msgspec.ValidationError, strict_json.NotJson):
        return None
    if parsed.finish_reason in INCOMPLETE_REASONS:
        return None
    return calls or _normalized_text(parsed.answer_text) or None


def _arguments(function: Function) -> str:
    value = strict_json.loads(function.arguments or "{}", unique_keys=True)
    if not isinstance(value, dict):
        raise strict_json.NotJson("not an object")
    return _canonical_json(value)


def _normalized_text(text: str) -> str:
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
