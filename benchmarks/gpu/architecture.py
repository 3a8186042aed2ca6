"""The architectures for dummy weights: Qwen3-8B and Qwen3-4B as published, and a tiny version of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SOURCE = (
    "config.json of Qwen/{name} on the Hugging Face hub; layers, heads and embeddings also in table 1 of the Qwen3"
    " Technical Report (arXiv 2505.09388)"
)

QWEN3_8B: Mapping[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "max_window_layers": 36,
    "model_type": "qwen3",
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-6,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}

QWEN3_4B: Mapping[str, Any] = {
    **QWEN3_8B,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "tie_word_embeddings": True,
}

SIZES = {"8b": ("Qwen3-8B", QWEN3_8B), "4b": ("Qwen3-4B", QWEN3_4B)}

TINY: Mapping[str, Any] = {
    **QWEN3_8B,
    "bos_token_id": 31997,
    "eos_token_id": 31999,
    "head_dim": 32,
    "hidden_size": 128,
    "intermediate_size": 256,
    "max_window_layers": 2,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 32000,
}


def parameters(config: Mapping[str, Any]) -> int:
    """Return how many parameters a model of this architecture has."""
    hidden, head = config["hidden_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    attention = hidden * (queries + 2 * keys) + queries * hidden + 2 * head  # last: the norms of queries and keys
    layer = attention + 3 * hidden * config["intermediate_size"] + 2 * hidden
    embeddings = config["vocab_size"] * hidden * (1 if config["tie_word_embeddings"] else 2)
    count: int = config["num_hidden_layers"] * layer + embeddings + hidden
    return count


def kv_bytes_per_token(config: Mapping[str, Any], bytes_each: int = 2) -> int:
    """Return the bytes of KV cache for one token; `bytes_each` is 2 for bfloat16."""
    size: int = 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * config["head_dim"] * bytes_each
    return size
