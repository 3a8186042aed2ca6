"""A family's real tokenizer and chat template, from a GGUF file in a Python package."""

from __future__ import annotations

from gguf import GGUFReader, TokenType
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from router.engine.source import PackageFile, locate

PRE_TOKENIZER = "smollm"
"""digits one by one, then GPT-2's pattern"""


def read_tokenizer(file: PackageFile) -> tuple[Tokenizer, str]:
    """Return the tokenizer and the template."""
    fields = GGUFReader(locate(file)).fields

    def value(key: str) -> object:
        return fields[f"tokenizer.{key}"].contents()

    assert (value("ggml.model"), value("ggml.pre")) == ("gpt2", PRE_TOKENIZER)
    texts, merges, types = (value(f"ggml.{key}") for key in ("tokens", "merges", "token_type"))
    assert isinstance(texts, list)
    assert isinstance(merges, list)
    assert isinstance(types, list)
    vocabulary = {text: index for index, text in enumerate(texts)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [text for text, kind in zip(texts, types, strict=True) if kind == TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in control])
    return tokenizer, str(value("chat_template"))
