"""A tiny Llama with random weights and a tokenizer of its own: a model that an engine of the tests can load.

One token is one byte, so every text can be written, and the context is longer than any answer of a test. The files are
written without torch, which takes seconds to import.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

CONTEXT = 10_000_000
"""tokens: an answer that only this ends takes hours, however fast the machine is"""
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
EOS_TOKEN = "<|im_end|>"
EOS_ID = 258
ENDLESS = {"logit_bias": {str(EOS_ID): -100}}
"""fields of a request whose answer never ends by itself"""
CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>system
Tools: {{ tools | tojson }}<|im_end|>
{% endif -%}
{%- for message in messages %}
    {%- if message.role not in ("system", "user", "assistant", "tool") %}
        {{- raise_exception("unknown role " + message.role) }}
    {%- endif %}
    {{- "<|im_start|>" + message.role + "\\n" + (message.content or "") }}
    {%- for call in message.tool_calls or [] %}
        {{- call.function.name + call.function.arguments.items() | list | string }}
    {%- endfor %}
    {{- "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\\n" }}{% endif %}"""

SIZES = {
    "vocab_size": 260,  # one more than there are tokens, as in many real models
    "hidden_size": 128,  # heads of 32: vLLM has no smaller ones on a CPU
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}


def make_tiny_llama(folder: Path, **config: Any) -> Path:
    """Write the model into a folder; return the folder. `config`: changes of its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    written = SIZES | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "bos_token_id": 256,
        "eos_token_id": EOS_ID,
        "pad_token_id": 256,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(written | config))
    save_file(_weights(), folder / "model.safetensors", {"format": "pt"})
    _save_tokenizer(folder)
    return folder


def _weights() -> dict[str, Any]:
    random = numpy.random.default_rng(0)
    width, inner, kv = SIZES["hidden_size"], SIZES["intermediate_size"], SIZES["hidden_size"] // 2

    def normal(*shape: int) -> Any:
        return random.normal(0, 0.02, shape).astype(numpy.float32)

    weights = {"model.embed_tokens.weight": normal(SIZES["vocab_size"], width)}
    for layer in range(SIZES["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        for name, shape in {
            "self_attn.q_proj": (width, width),
            "self_attn.k_proj": (kv, width),
            "self_attn.v_proj": (kv, width),
            "self_attn.o_proj": (width, width),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }.items():
            weights[f"{at}.{name}.weight"] = normal(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{at}.{name}.weight"] = numpy.ones(width, numpy.float32)
    weights["model.norm.weight"] = numpy.ones(width, numpy.float32)
    return weights | {"lm_head.weight": normal(SIZES["vocab_size"], width)}


def _save_tokenizer(folder: Path) -> None:
    """Write a byte-level tokenizer with a ChatML template."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL_TOKENS[0],
        "pad_token": SPECIAL_TOKENS[0],
        "eos_token": EOS_TOKEN,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
