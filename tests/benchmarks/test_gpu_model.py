"""The model that is made on the spot: architecture and tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import tokenizer
from benchmarks.gpu.architecture import QWEN3_4B, QWEN3_8B, TINY, kv_bytes_per_token, parameters
from benchmarks.vllm.bodies import Bodies

TEXTS = ["", "Hello, world 42!", "Grüße aus Köln — naïve café", "日本語\n\tπ≈3.14", "baca dofu", "a\x00b\x7f\u00ad"]


def test_the_architecture_has_the_published_size() -> None:
    assert parameters(QWEN3_8B) == 8_190_735_360  # the hub says 8.19B, the report 8.2B
    assert kv_bytes_per_token(QWEN3_8B) == 147_456
    assert parameters(QWEN3_4B) == 4_022_468_096  # the report says 4.0B


def test_the_tiny_one_is_tiny_and_of_the_same_family() -> None:
    assert parameters(TINY) < 10_000_000
    assert TINY["architectures"] == QWEN3_8B["architectures"]
    assert TINY["hidden_size"] == TINY["num_attention_heads"] * TINY["head_dim"]


def test_every_byte_has_a_letter_of_its_own() -> None:
    letters = tokenizer.byte_letters()
    assert len(set(letters)) == 256
    assert letters[ord(" ")] == tokenizer.SPACE
    assert letters[ord("A")] == "A"


@pytest.mark.parametrize("config", [QWEN3_8B, TINY], ids=["8b", "tiny"])
def test_the_vocabulary_is_exactly_as_large_as_the_model_wants(config: Mapping[str, Any]) -> None:
    made = tokenizer.tokenizer(config["vocab_size"], tokenizer.specials(dict(config)))
    vocabulary = made["model"]["vocab"]
    assert sorted(vocabulary.values()) == list(range(config["vocab_size"]))
    assert vocabulary["<|im_end|>"] == config["eos_token_id"]
    assert {token["content"]: token["id"] for token in made["added_tokens"]}.items() <= vocabulary.items()
    assert all(left + right in vocabulary for left, right in made["model"]["merges"])


@pytest.mark.parametrize("size", [1000, 2_000_000])
def test_sizes_that_cannot_be(size: int) -> None:
    with pytest.raises(ValueError, match=r"too (small|large)"):
        tokenizer.tokenizer(size, {"<|im_end|>": 5})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("model")
    tokenizer.write(made, dict(TINY))
    return made


def test_every_text_comes_back_as_it_was(folder: Path) -> None:
    loaded = pytest.importorskip("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in TEXTS:
        ids = loaded.encode(text).ids
        assert loaded.decode(ids, skip_special_tokens=False) == text
    assert loaded.get_vocab_size() == TINY["vocab_size"]


def test_a_word_of_a_prompt_is_one_token(folder: Path) -> None:
    loaded = pytest.importorskip("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt = json.loads(Bodies(30).make("m", max_tokens=2, stream=False))["messages"][0]["content"]
    assert len(loaded.encode(prompt).ids) == 12 + 30


def test_every_token_that_the_model_may_choose_is_text(folder: Path) -> None:
    loaded = pytest.importorskip("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert all(loaded.decode([token], skip_special_tokens=False) for token in range(TINY["vocab_size"]))


def test_the_chat_template_is_rendered(folder: Path) -> None:
    jinja2 = pytest.importorskip("jinja2")
    about = json.loads((folder / "tokenizer_config.json").read_text())
    messages = [{"role": "user", "content": "hi"}]
    text = jinja2.Template(about["chat_template"]).render(messages=messages, add_generation_prompt=True)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    loaded = pytest.importorskip("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert loaded.encode(text).ids.count(TINY["eos_token_id"]) == 1, "special tokens are one token each"
