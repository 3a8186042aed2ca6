"""A small byte-level tokenizer made on the spot, with as many tokens as the architecture asks for, and a chat template.

Every text can be encoded: whatever is no token is its bytes. The words of the benchmark's prompts, two syllables
each, are one token. The rest of the vocabulary are words of three syllables that no text becomes, but which a model
with random weights may choose: so every one of its tokens is a piece of text, as with a real model.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.vllm.bodies import SYLLABLES

END_OF_TEXT, TURN_BEGINS, TURN_ENDS = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPACE = "Ġ"  # how byte-level tokenizers write the byte of a space
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write(folder: Path, config: dict[str, Any]) -> None:
    """Write tokenizer.json and tokenizer_config.json for a model's config.json."""
    content = json.dumps(tokenizer(config["vocab_size"], specials(config)), ensure_ascii=False)
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config["max_position_embeddings"],
        "eos_token": TURN_ENDS,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


def specials(config: dict[str, Any]) -> dict[str, int]:
    """Return the special tokens, where the architecture has them."""
    end, eos = config["bos_token_id"], config["eos_token_id"]
    return {END_OF_TEXT: end, TURN_BEGINS: eos - 1, TURN_ENDS: eos}


def tokenizer(size: int, special: dict[str, int]) -> dict[str, Any]:
    """Return the content of tokenizer.json, with exactly `size` tokens.

    Raises:
        ValueError: so few tokens have no room for the bytes and words, or so many not enough words to be.
    """
    merges = list(_merges())
    needed = 256 + len(merges) + len(special)
    if size < needed:
        raise ValueError(f"a vocabulary of {size} is too small: bytes, words and special tokens are {needed}")
    texts = itertools.chain(byte_letters(), (left + right for left, right in merges), _others())
    places = {place: text for text, place in special.items()}
    try:
        vocabulary = {places[place] if place in places else next(texts): place for place in range(size)}
    except StopIteration:
        raise ValueError(f"a vocabulary of {size} is too large for words of three syllables") from None
    added = [
        {"id": place, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for text, place in special.items()
    ]  # fmt: skip
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": vocabulary, "merges": [list(pair) for pair in merges]}  # fmt: skip
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": level, "post_processor": None, "decoder": level, "model": model}  # fmt: skip


def byte_letters() -> list[str]:
    """Return the letter for each of the 256 bytes, as byte-level tokenizers since GPT-2 have them.

    Printable Latin-1 characters stand for themselves, the other bytes for the characters from U+0100 on.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = itertools.count(256)
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _merges() -> Iterator[tuple[str, str]]:
    """Yield what is merged into one token, in order: syllables, words of two of them, words after a space."""
    yield from ((syllable[0], syllable[1]) for syllable in SYLLABLES)
    words = [(first, second) for first in SYLLABLES for second in SYLLABLES]
    yield from words
    yield from ((SPACE, first + second) for first, second in words)


def _others() -> Iterator[str]:
    return (SPACE + "".join(three) for three in itertools.product(SYLLABLES, repeat=3))
