"""Requests that are equal work for every target, and that no prefix cache has seen.

The temperature is 0, the end of text is ignored and `max_tokens` is fixed, so every answer has exactly that length.
A prompt is twelve digits that were never used before, then the same words each time, so all prompts are equally long.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import secrets
from collections.abc import Sequence

from benchmarks.common.load import Answer, LoadFailed

SYLLABLES = tuple(consonant + vowel for consonant in "bcdfghjklmnpqrstvwxyz" for vowel in "aeiou")
"""a word of a prompt is two of them, and one token of the GPU benchmark's generated tokenizer"""

_PROMPT_TOKENS = re.compile(rb'"prompt_tokens":\s*(\d+)')
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')


class WrongTokenCount(LoadFailed):
    """An answer had another number of tokens than was asked for, so times cannot be compared."""


class Bodies:
    """Makes request bodies with different prompts."""

    def __init__(self, words: int) -> None:
        choose = random.Random(1).choice
        self._words = " ".join(choose(SYLLABLES) + choose(SYLLABLES) for _ in range(words))
        self._run = secrets.randbelow(10**6)
        self._numbers = itertools.count()

    def make(self, model: str, *, max_tokens: int, stream: bool) -> bytes:
        """Return one body of `/v1/chat/completions`."""
        prompt = f"{self._run:06d}{next(self._numbers):06d} {self._words}"
        body = {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "skip_special_tokens": False,  # without it, tokens after the end of text make no events
        }
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(body, separators=(",", ":")).encode()


def prompt_tokens(answer: Answer) -> int:
    """Return the prompt tokens from the usage in a kept body; 0 if there is none."""
    return _last(_PROMPT_TOKENS, answer.body)


def count_tokens(answers: Sequence[Answer], max_tokens: int) -> int:
    """Return the tokens of all answers, whose bodies were kept.

    Raises:
        WrongTokenCount: an answer does not have exactly `max_tokens`.
    """
    for answer in answers:
        if (found := _last(_COMPLETION_TOKENS, answer.body)) != max_tokens:
            raise WrongTokenCount(f"an answer has {found} tokens instead of {max_tokens}: {answer.body[-300:]!r}")
    return len(answers) * max_tokens


def _last(pattern: re.Pattern[bytes], body: bytes) -> int:
    found = pattern.findall(body)
    return int(found[-1]) if found else 0
