"""Makes a small tokenizer for a family: every byte, a few merges, and the family's own tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

BYTES_AND_MERGES = 640
"""256 bytes, and merges as real vocabularies have them: tokens of several letters, and of JSON's punctuation"""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that a family's documentation names beside its words."""

    end_of_text: str
    end_of_turn: str
    """What ends an answer. Where a family has no such token, that is `end_of_text`."""
    begin: str | None = None
    """What the template or the tokenizer puts first."""
    special: tuple[str, ...] = ()
    """Left out of decoded text unless `skip_special_tokens` is off."""
    plain: tuple[str, ...] = ()
    """One token each, but part of decoded text: most families' `<think>` and `<tool_call>`."""
    pad: str | None = None

    def all_special(self) -> list[str]:
        """Return the special tokens once each, in a fixed order."""
        named = (self.pad, self.begin, self.end_of_text, self.end_of_turn)
        return list(dict.fromkeys(token for token in (*named, *self.special) if token is not None))


@dataclass(frozen=True, slots=True)
class TokenIds:
    """What a model's configuration says of its tokenizer."""

    vocab_size: int
    begin: int | None
    end_of_text: int
    ends: list[int]
    """The ids that end an answer."""
    pad: int
    ids: Mapping[str, int] = field(repr=False)


def tiny_tokenizer(tokens: Tokens) -> Tokenizer:
    """Return a tokenizer with these tokens."""
    tokenizer = _trained()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in tokens.all_special()])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in tokens.plain])
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, tokens: Tokens, folder: Path) -> TokenIds:
    """Write `tokenizer.json` and `tokenizer_config.json`."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens.begin,
        "eos_token": tokens.end_of_turn,
        "pad_token": tokens.pad or tokens.end_of_text,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 131072,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return ids_of(tokenizer, tokens)


def ids_of(tokenizer: Tokenizer, tokens: Tokens) -> TokenIds:
    """Return the ids that a model's configuration names."""
    vocabulary = tokenizer.get_vocab()
    ends = dict.fromkeys((tokens.end_of_turn, tokens.end_of_text))
    return TokenIds(
        vocab_size=len(vocabulary),
        begin=None if tokens.begin is None else vocabulary[tokens.begin],
        end_of_text=vocabulary[tokens.end_of_text],
        ends=[vocabulary[token] for token in ends],
        pad=vocabulary[tokens.pad or tokens.end_of_text],
        ids=vocabulary,
    )


def _trained() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=BYTES_AND_MERGES,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    return tokenizer


def _sentences() -> Iterator[str]:
    """Yield plain text and JSON, so that merges cross a call's quotes, braces and colons as real ones do."""
    for city in ("Paris", "London", "Tokyo", "Lima", "Oslo"):
        for unit in ("celsius", "fahrenheit"):
            yield f"What is the weather in {city} today, in {unit}? Let me think about the question of the weather."
            yield json.dumps([{"name": "get_weather", "arguments": {"city": city, "unit": unit, "days": 3}}])
            yield json.dumps({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}})
            yield f'get_weather(city="{city}", unit="{unit}") The answer is {{"name": "{city}", "count": 12}}.'
