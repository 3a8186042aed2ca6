"""The families' architectures, as `config.json` has them on the hub, as small as vLLM's CPU kernels take them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.families.tiny_tokenizer import TokenIds

HIDDEN = 64
HEAD = 32
"""The smallest head that vLLM's attention on a CPU knows."""
DELTA_HEAD = 128
"""The only head that its gated delta nets know."""
CONTEXT = 4096

Architecture = Callable[[TokenIds], dict[str, Any]]


def llama(ids: TokenIds) -> dict[str, Any]:
    """SmolLM2, xLAM-2 on Llama, DeepSeek-R1-Distill on Llama."""
    return _dense(ids, "LlamaForCausalLM", "llama", rms_norm_eps=1e-5)


def phi3(ids: TokenIds) -> dict[str, Any]:
    """Phi-4-mini and Phi-3.5-mini: fused projections."""
    return _dense(ids, "Phi3ForCausalLM", "phi3", partial_rotary_factor=0.75, original_max_position_embeddings=CONTEXT)


def qwen2(ids: TokenIds) -> dict[str, Any]:
    """DeepSeek-R1-Distill and xLAM-2 on Qwen2.5: biases in the attention."""
    return _dense(ids, "Qwen2ForCausalLM", "qwen2")


def qwen3(ids: TokenIds) -> dict[str, Any]:
    """Qwen3: norms on queries and keys."""
    return _dense(ids, "Qwen3ForCausalLM", "qwen3", head_dim=HEAD)


def smollm3(ids: TokenIds) -> dict[str, Any]:
    """SmolLM3: one layer in two without positions."""
    return _dense(ids, "SmolLM3ForCausalLM", "smollm3", no_rope_layers=[1, 0], tie_word_embeddings=True)


def nemotron_h(ids: TokenIds) -> dict[str, Any]:
    """Nemotron-H and Nemotron 3 Nano: Mamba-2, attention and MLP layers."""
    return {
        "architectures": ["NemotronHForCausalLM"],
        "model_type": "nemotron_h",
        "hybrid_override_pattern": "M-M*-",
        "num_hidden_layers": 5,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": HEAD,
        "attention_head_dim": HEAD,
        "ssm_state_size": 16,
        "mamba_num_heads": 4,
        "mamba_head_dim": HEAD,
        "n_groups": 2,
        "conv_kernel": 4,
        "expand": 2,
        "chunk_size": 128,
        "mlp_hidden_act": "relu2",
        "mamba_hidden_act": "silu",
        "use_conv_bias": True,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": False,
    } | _common(ids)


def granite_hybrid(ids: TokenIds) -> dict[str, Any]:
    """Granite 4 hybrid without experts: Mamba-2 layers and one of attention without positions."""
    return {
        "architectures": ["GraniteMoeHybridForCausalLM"],
        "model_type": "granitemoehybrid",
        "layer_types": ["mamba", "attention"],
        "num_hidden_layers": 2,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "shared_intermediate_size": 2 * HIDDEN,
        "num_local_experts": 0,
        "num_experts_per_tok": 0,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "mamba_n_heads": 4,
        "mamba_d_head": HEAD,
        "mamba_d_state": 16,
        "mamba_n_groups": 1,
        "mamba_d_conv": 4,
        "mamba_expand": 2,
        "mamba_chunk_size": 256,
        "position_embedding_type": "nope",
        "embedding_multiplier": 12,
        "attention_multiplier": 0.015625,
        "residual_multiplier": 0.22,
        "logits_scaling": 8,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    } | _common(ids)


def granite_dense(ids: TokenIds) -> dict[str, Any]:
    """Granite 4 without Mamba-2: the same class, with attention and positions in every layer."""
    return granite_hybrid(ids) | {
        "layer_types": ["attention", "attention"],
        "position_embedding_type": "rope",
        "rope_theta": 10000.0,
    }


def lfm2(ids: TokenIds) -> dict[str, Any]:
    """LFM2: short convolutions and attention."""
    return {
        "architectures": ["Lfm2ForCausalLM"],
        "model_type": "lfm2",
        "layer_types": ["conv", "full_attention", "conv"],
        "num_hidden_layers": 3,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "block_dim": HIDDEN,
        "block_ff_dim": 2 * HIDDEN,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 32,
        "block_auto_adjust_ff_dim": False,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "conv_dim": HIDDEN,
        "conv_dim_out": HIDDEN,
        "conv_L_cache": 3,
        "conv_bias": False,
        "norm_eps": 1e-5,
        "rope_theta": 1e6,
        "tie_embedding": True,
    } | _common(ids)


def gemma3(ids: TokenIds) -> dict[str, Any]:
    """Gemma 3 for text: sliding windows and one layer that sees everything."""
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "layer_types": ["sliding_attention", "full_attention"],
        "num_hidden_layers": 2,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": HEAD,
        "query_pre_attn_scalar": HEAD,
        "sliding_window": 512,
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    } | _common(ids)


def gemma3_seeing(ids: TokenIds) -> dict[str, Any]:
    """Gemma 3 from 4B on: the same for text, with its eye."""
    vision = {
        "model_type": "siglip_vision_model",
        "num_hidden_layers": 1,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        "vision_use_head": False,
    }
    return {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": gemma3(ids),
        "vision_config": vision,
        "mm_tokens_per_image": 4,
        "image_token_index": ids.ids["<image_soft_token>"],
        "boi_token_index": ids.ids["<start_of_image>"],
        "eoi_token_index": ids.ids["<end_of_image>"],
        "dtype": "float32",
        "eos_token_id": ids.ends,
    }


def gemma4(ids: TokenIds) -> dict[str, Any]:
    """Gemma 4 E2B: per-layer embeddings, wider heads in the layers that see everything; with its eye, not its ear."""
    text = {
        "model_type": "gemma4_text",
        "layer_types": ["sliding_attention", "full_attention"],
        "num_hidden_layers": 2,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": HEAD,
        "global_head_dim": 2 * HEAD,
        "sliding_window": 512,
        "hidden_size_per_layer_input": 32,
        "vocab_size_per_layer_input": ids.vocab_size,
        "hidden_activation": "gelu_pytorch_tanh",
        "final_logit_softcapping": 30.0,
        "rms_norm_eps": 1e-6,
    } | _common(ids)
    vision = {
        "model_type": "gemma4_vision",
        "num_hidden_layers": 1,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": HEAD,
        "position_embedding_size": 64,
    }
    return {
        "architectures": ["Gemma4ForConditionalGeneration"],
        "model_type": "gemma4",
        "text_config": text,
        "vision_config": vision,
        "audio_config": None,
        "image_token_id": ids.ids["<|image|>"],
        "boi_token_id": ids.ids["<|image>"],
        "eoi_token_id": ids.ids["<image|>"],
        "audio_token_id": ids.ids["<|audio|>"],
        "video_token_id": ids.ids["<|video|>"],
        "tie_word_embeddings": True,
        "dtype": "float32",
        "eos_token_id": ids.ends,
    }


def qwen3_5(ids: TokenIds) -> dict[str, Any]:
    """Qwen3.5: gated delta nets and gated attention, with its eye."""
    text = {
        "model_type": "qwen3_5_text",
        "layer_types": ["linear_attention", "full_attention"],
        "num_hidden_layers": 2,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": HEAD,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": DELTA_HEAD,
        "linear_value_head_dim": DELTA_HEAD,
        "linear_conv_kernel_dim": 4,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e7,
            "partial_rotary_factor": 0.25,
            "mrope_section": [2, 1, 1],
            "mrope_interleaved": True,
        },
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    } | _common(ids)
    vision = {
        "model_type": "qwen3_5",
        "depth": 1,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_heads": 2,
        "out_hidden_size": HIDDEN,
        "num_position_embeddings": 16,
    }
    return {
        "architectures": ["Qwen3_5ForConditionalGeneration"],
        "model_type": "qwen3_5",
        "text_config": text,
        "vision_config": vision,
        "image_token_id": ids.ids["<|image_pad|>"],
        "video_token_id": ids.ids["<|video_pad|>"],
        "vision_start_token_id": ids.ids["<|vision_start|>"],
        "vision_end_token_id": ids.ids["<|vision_end|>"],
        "tie_word_embeddings": True,
        "dtype": "float32",
    }


def _dense(ids: TokenIds, name: str, model_type: str, **more: Any) -> dict[str, Any]:
    """Attention and a gated MLP in every layer."""
    return (
        {
            "architectures": [name],
            "model_type": model_type,
            "num_hidden_layers": 2,
            "hidden_size": HIDDEN,
            "intermediate_size": 2 * HIDDEN,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
        }
        | _common(ids)
        | more
    )


def _common(ids: TokenIds) -> dict[str, Any]:
    return {
        "vocab_size": ids.vocab_size,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": ids.begin,
        "eos_token_id": ids.ends if len(ids.ends) > 1 else ids.ends[0],
        "pad_token_id": ids.pad,
        "initializer_range": 0.02,
        "dtype": "float32",
    }
