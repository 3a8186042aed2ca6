"""How much GPU memory a model of the catalogue needs, and what fits a card. Pure.

All figures are estimates in GB of 10^9 bytes. The "24 GB" of a card are counted as 24 x 10^9 bytes: that is what cards
with error correction have left (an L4 or A10 has 24.1 x 10^9), and a little less than others have (an RTX 4090: 25.7).

    share of the card that vLLM takes  =  weights  +  1.5 GB  +  KV cache

- The share is vLLM's `gpu_memory_utilization`, 0.92 by default.
- 1.5 GB are for the CUDA context, CUDA graphs and activations. vLLM measures them at each start; see "Conserving
  Memory" in its documentation, https://docs.vllm.ai/en/latest/configuration/conserving_memory.html.
- The KV cache must hold at least one sequence of the whole context. What is left beyond that serves more at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from router.catalogue.entry import Attention, CatalogueEntry

Precision = Literal["bf16", "fp8", "int4"]
# Bytes a weight. A group of 128 weights in 4 bits has a scale of 16 bits and a zero point of 4: 4.16 bits a weight.
# With it, Qwen3-4B comes to 2.67 GB, the size of the files of Qwen/Qwen3-4B-AWQ.
BYTES_PER_WEIGHT: Mapping[Precision, float] = {"bf16": 2.0, "fp8": 1.0, "int4": (4 + 20 / 128) / 8}
EMBEDDING_BYTES = 2
"""quantization leaves the embeddings and the output layer in 16 bits"""
KV_BYTES, CONV_BYTES, RECURRENT_BYTES = 2, 2, 4
"""vLLM keeps recurrent states in 32 bits where the model's configuration does not say otherwise"""

IN_FLIGHT_TOKENS = 2 * 2_048
"""what layers with a window keep beyond it: vLLM frees tokens only after the batch, of which two are under way, and a
batch has at most 2,048 tokens by default (8,192 or more on cards from 70 GB)"""

OVERHEAD_GB = 1.5
MEMORY_SHARE = 0.92
CARD_SIZES_GB = (8, 12, 16, 24, 40, 80)
MIN_CONTEXT = 1_024
DEFAULT_CONTEXT = 32_768
"""the longest context that an entry of models.yaml gets by default, as the whole context of many models fits no card"""


def weights_gb(entry: CatalogueEntry, precision: Precision) -> float:
    """Return the size of the weights: embeddings x 2 bytes + the others x 2, 1 or 0.52 bytes."""
    others = entry.parameters - entry.embedding_parameters
    return (entry.embedding_parameters * EMBEDDING_BYTES + others * BYTES_PER_WEIGHT[precision]) / 1e9


def kv_bytes_per_token(entry: CatalogueEntry) -> int:
    """Return what each further token of a long sequence adds: keys and values of the layers that see all tokens."""
    return sum(_kv_bytes(kind) for kind in entry.attention if kind.window is None)


def sequence_gb(entry: CatalogueEntry, tokens: int) -> float:
    """Return what one sequence needs: its keys and values, in some layers only those of a window, and its state."""
    kept = sum(_kv_bytes(kind) * min(tokens, _window(kind) or tokens) for kind in entry.attention)
    return (kept + state_bytes(entry)) / 1e9


def state_bytes(entry: CatalogueEntry) -> int:
    """Return the size of the state that a sequence has however long it is."""
    state = entry.state
    return state.recurrent_values * RECURRENT_BYTES + state.conv_values * CONV_BYTES if state else 0


def default_context(entry: CatalogueEntry) -> int:
    """Return the context that an entry of models.yaml gets if it does not say another."""
    return min(entry.context, DEFAULT_CONTEXT)


def longest_context(entry: CatalogueEntry, precision: Precision, card_gb: float) -> int:
    """Return the longest context that one sequence can have on a card, or 0 if it is too short to be of use."""
    for_cache = card_gb * MEMORY_SHARE - weights_gb(entry, precision) - OVERHEAD_GB
    if for_cache >= sequence_gb(entry, entry.context):
        return entry.context
    low, high = 0, entry.context  # the size grows with the number of tokens, but not in proportion to it
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sequence_gb(entry, middle) <= for_cache else (low, middle)
    return low if low >= MIN_CONTEXT else 0


def smallest_card_gb(entry: CatalogueEntry, precision: Precision = "bf16") -> int | None:
    """Return the smallest card that takes the model with its default context, or None if none does."""
    return next(
        (size for size in CARD_SIZES_GB if longest_context(entry, precision, size) >= default_context(entry)), None
    )


def _kv_bytes(kind: Attention) -> int:
    """Return the bytes of a token's keys and values in all layers of one kind."""
    return 2 * kind.layers * kind.kv_heads * kind.head_dim * KV_BYTES


def _window(kind: Attention) -> int | None:
    """Return how many tokens such layers keep at most, or None for all of them."""
    return kind.window + IN_FLIGHT_TOKENS if kind.window else None
