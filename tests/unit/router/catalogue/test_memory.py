from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.catalogue.bundled import catalogue, find
from router.catalogue.entry import Attention, CatalogueEntry, State
from router.catalogue.memory import (
    BYTES_PER_WEIGHT,
    CARD_SIZES_GB,
    IN_FLIGHT_TOKENS,
    MEMORY_SHARE,
    OVERHEAD_GB,
    default_context,
    kv_bytes_per_token,
    longest_context,
    sequence_gb,
    smallest_card_gb,
    state_bytes,
    weights_gb,
)

ENTRIES = st.sampled_from(list(catalogue().values()))
PRECISIONS = st.sampled_from(list(BYTES_PER_WEIGHT))


def test_weights_are_what_published_files_measure() -> None:
    """Qwen3-4B: two safetensors files of 8.04 GB in bf16, and 2.67 GB as Qwen3-4B-AWQ."""
    qwen = find("qwen3-4b-instruct-2507")
    assert weights_gb(qwen, "bf16") == pytest.approx(8.04, abs=0.01)
    assert weights_gb(qwen, "int4") == pytest.approx(2.67, abs=0.01)


def test_a_dense_model_adds_keys_and_values_of_all_layers() -> None:
    llama = find("deepseek-r1-distill-llama-8b")
    assert kv_bytes_per_token(llama) == 2 * 32 * 8 * 128 * 2
    assert sequence_gb(llama, 1_000) == pytest.approx(0.131072)


def test_a_sliding_window_keeps_its_size_and_what_is_in_flight() -> None:
    entry = find("qwen3-4b-instruct-2507").model_copy(
        update={
            "attention": (
                Attention(layers=1, kv_heads=1, head_dim=1),
                Attention(layers=1, kv_heads=1, head_dim=100, window=10),
            )
        }
    )
    most = 10 + IN_FLIGHT_TOKENS
    sizes = [round(sequence_gb(entry, tokens) * 1e9) for tokens in (5, most, 10_000)]
    assert sizes == [5 * 404, most * 404, 10_000 * 4 + most * 400]


def test_a_hybrid_has_a_state_however_short_its_sequence_is() -> None:
    entry = find("nemotron-3-nano-4b")
    assert state_bytes(entry) == 21 * (96 * 80 * 128 * 4 + 9728 * 3 * 2)
    assert sequence_gb(entry, 0) == state_bytes(entry) / 1e9
    assert state_bytes(find("phi-4-mini")) == 0
    assert State(layers=2, conv=(8, 3)).recurrent_values == 0


def test_the_default_context_is_the_models_own_up_to_32_thousand() -> None:
    assert default_context(find("phi-3-mini-4k")) == 4096
    assert default_context(find("phi-4-mini")) == 32_768


def test_what_fits_known_cards() -> None:
    assert smallest_card_gb(find("smollm2-135m")) == 8
    assert smallest_card_gb(find("phi-4-mini")) == 16
    assert smallest_card_gb(find("xlam-2-8b")) == 24
    assert smallest_card_gb(find("xlam-2-8b"), "int4") == 16
    giant = find("xlam-2-8b").model_copy(update={"parameters": 70_000_000_000})
    assert smallest_card_gb(giant) is None
    assert longest_context(giant, "bf16", 80) == 0


@given(ENTRIES, PRECISIONS, st.sampled_from(CARD_SIZES_GB) | st.floats(1, 200))
def test_the_longest_context_fits_and_one_token_more_does_not(
    entry: CatalogueEntry, precision: str, card_gb: float
) -> None:
    room = card_gb * MEMORY_SHARE - OVERHEAD_GB - weights_gb(entry, precision)  # type: ignore[arg-type]
    tokens = longest_context(entry, precision, card_gb)  # type: ignore[arg-type]
    assert 0 <= tokens <= entry.context
    if tokens:
        assert sequence_gb(entry, tokens) <= room
    if 0 < tokens < entry.context:
        assert sequence_gb(entry, tokens + 1) > room


@given(ENTRIES, st.floats(1, 200), st.floats(0, 100))
def test_more_memory_or_fewer_bits_never_shorten_the_context(
    entry: CatalogueEntry, card_gb: float, more: float
) -> None:
    bf16, fp8, int4 = (longest_context(entry, precision, card_gb) for precision in BYTES_PER_WEIGHT)
    assert bf16 <= fp8 <= int4
    assert bf16 <= longest_context(entry, "bf16", card_gb + more)
