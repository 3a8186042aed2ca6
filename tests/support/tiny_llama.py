"""A Llama of a few thousand random weights, with a tokenizer of its own: a model that any engine of the tests can load.

One token is one byte, so every text can be written, and the context is long enough for an answer that takes minutes.
"""

from __future__ import annotations

from pathlib import Path

CONTEXT = 100_000
"""tokens: more than the tiny model writes in the time of a test, however fast the machine is"""
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
EOS_TOKEN = "<|im_end|>"
EOS_ID = 258
CHAT_TEMPLATE = """
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


def make_tiny_llama(folder: Path) -> Path:
    """Write the model into a folder; return the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    save_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(**tiny_sizes())
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def tiny_sizes() -> dict[str, int]:
    """The sizes of the model, as its config has them."""
    return {
        "vocab_size": 260,  # one more than there are tokens, as in many real models
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": 256,
        "eos_token_id": EOS_ID,
        "pad_token_id": 256,
    }


def save_tokenizer(folder: Path) -> None:
    """Write a byte-level tokenizer with a ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=EOS_TOKEN, pad_token=SPECIAL_TOKENS[0], bos_token=SPECIAL_TOKENS[0]
    )
    tokenizer.chat_template = CHAT_TEMPLATE.lstrip()
    tokenizer.save_pretrained(folder)
