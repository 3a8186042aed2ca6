"""The families: of each, what its tiny model is made of, what vLLM is told, and what a model of it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.families import architectures, formats
from tests.families.formats import Format
from tests.families.tiny_tokenizer import Tokens

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Family:
    """One entry of the catalogue."""

    name: str
    architecture: architectures.Architecture
    tokens: Tokens
    template: str
    """the file in `templates`"""
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    vllm_args: Mapping[str, Any] = field(default_factory=dict)
    calls: Format | None = None
    """how it writes tool calls"""
    opens_thoughts: bool = False
    """whether it writes <think> itself. Otherwise its template has written it."""


CHATML = Tokens(end_of_text="<|endoftext|>", end_of_turn="<|im_end|>", special=("<|im_start|>",))
THINK = ("<think>", "</think>")
TOOL_CALL = ("<tool_call>", "</tool_call>")
LLAMA = Tokens(
    begin="<|begin_of_text|>",
    end_of_text="<|end_of_text|>",
    end_of_turn="<|eot_id|>",
    special=("<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|python_tag|>", "<|finetune_right_pad_id|>"),
    pad="<|finetune_right_pad_id|>",
)
DEEPSEEK = Tokens(
    begin="<｜begin▁of▁sentence｜>",
    end_of_text="<｜end▁of▁sentence｜>",
    end_of_turn="<｜end▁of▁sentence｜>",
    plain=("<｜User｜>", "<｜Assistant｜>", *THINK),
)
NEMOTRON_H = Tokens(
    begin="<s>",
    end_of_text="</s>",
    end_of_turn="<SPECIAL_11>",
    special=("<unk>", "<SPECIAL_10>", "<SPECIAL_12>"),
    plain=THINK,
)
QWEN = Tokens(
    end_of_text="<|endoftext|>",
    end_of_turn="<|im_end|>",
    special=("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    plain=(*TOOL_CALL, "<tool_response>", "</tool_response>", *THINK),
)
GEMMA = Tokens(
    begin="<bos>",
    end_of_text="<eos>",
    end_of_turn="<end_of_turn>",
    special=("<unk>", "<start_of_turn>"),
    pad="<pad>",
)

FAMILIES = (
    Family(
        name="phi-4-mini",
        architecture=architectures.phi3,
        tokens=Tokens(
            begin="<|endoftext|>",
            end_of_text="<|endoftext|>",
            end_of_turn="<|end|>",
            special=("<|system|>", "<|user|>", "<|assistant|>"),
            plain=("<|tool|>", "<|/tool|>", "<|tool_call|>", "<|/tool_call|>", "<|tool_response|>"),
        ),
        template="phi-4-mini",
        tool_parser="phi4_mini_json",
        calls=formats.functools,
    ),
    Family(
        name="phi-4-mini-reasoning",
        architecture=architectures.phi3,
        tokens=Tokens(
            begin="<|endoftext|>",
            end_of_text="<|endoftext|>",
            end_of_turn="<|end|>",
            special=("<|system|>", "<|user|>", "<|assistant|>"),
            plain=THINK,
        ),
        template="phi-3.5-mini",
        reasoning_parser="deepseek_r1",
        opens_thoughts=True,
    ),
    Family(
        name="phi-3.5-mini",
        architecture=architectures.phi3,
        tokens=Tokens(
            begin="<s>",
            end_of_text="<|endoftext|>",
            end_of_turn="<|end|>",
            special=("<unk>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"),
        ),
        template="phi-3.5-mini",
    ),
    Family(
        name="nemotron-h-4b",
        architecture=architectures.nemotron_h,
        tokens=NEMOTRON_H,
        template="nemotron-h",
    ),
    Family(
        name="nemotron-h-8b-reasoning",
        architecture=architectures.nemotron_h,
        tokens=NEMOTRON_H,
        template="nemotron-h-reasoning",
        reasoning_parser="deepseek_r1",
    ),
    Family(
        name="nemotron-3-nano-4b",
        architecture=architectures.nemotron_h,
        tokens=QWEN,
        template="nemotron-3",
        tool_parser="qwen3_coder",
        reasoning_parser="nemotron_v3",
        calls=formats.qwen_xml,
    ),
    Family(
        name="deepseek-r1-distill-qwen-1.5b",
        architecture=architectures.qwen2,
        tokens=DEEPSEEK,
        template="deepseek-r1",
        reasoning_parser="deepseek_r1",
    ),
    Family(
        name="deepseek-r1-distill-llama-8b",
        architecture=architectures.llama,
        tokens=DEEPSEEK,
        template="deepseek-r1",
        reasoning_parser="deepseek_r1",
    ),
    Family(
        name="xlam-2-8b",
        architecture=architectures.llama,
        tokens=LLAMA,
        template="xlam-2-llama",
        tool_parser="xlam",
        calls=formats.bare_list,
    ),
    Family(
        name="qwen3-4b",
        architecture=architectures.qwen3,
        tokens=QWEN,
        template="qwen3",
        tool_parser="hermes",
        reasoning_parser="qwen3",
        calls=formats.hermes,
        opens_thoughts=True,
    ),
    Family(
        name="qwen3-4b-instruct-2507",
        architecture=architectures.qwen3,
        tokens=QWEN,
        template="qwen3",
        tool_parser="hermes",
        calls=formats.hermes,
    ),
    Family(
        name="qwen3.5-4b",
        architecture=architectures.qwen3_5,
        tokens=QWEN,
        template="qwen3.5",
        tool_parser="qwen3_coder",
        reasoning_parser="qwen3",
        vllm_args={"language_model_only": True, "dtype": "bfloat16"},
        calls=formats.qwen_xml,
    ),
    Family(
        name="smollm3-3b",
        architecture=architectures.smollm3,
        tokens=Tokens(
            begin="<|begin_of_text|>",
            end_of_text="<|end_of_text|>",
            end_of_turn="<|im_end|>",
            special=("<|im_start|>",),
            plain=(*TOOL_CALL, *THINK),
        ),
        template="smollm3",
        tool_parser="hermes",
        reasoning_parser="qwen3",
        calls=formats.hermes,
        opens_thoughts=True,
    ),
    Family(
        name="granite-4-h-micro",
        architecture=architectures.granite_hybrid,
        tokens=Tokens(
            end_of_text="<|end_of_text|>",
            end_of_turn="<|end_of_text|>",
            special=("<|start_of_role|>", "<|end_of_role|>", "<|pad|>"),
            plain=TOOL_CALL,
            pad="<|pad|>",
        ),
        template="granite-4",
        tool_parser="granite4",
        calls=formats.granite,
    ),
    Family(
        name="lfm2-1.2b-tool",
        architecture=architectures.lfm2,
        tokens=Tokens(
            begin="<|startoftext|>",
            end_of_text="<|endoftext|>",
            end_of_turn="<|im_end|>",
            special=(
                "<|im_start|>",
                *(f"<|tool_{part}_{edge}|>" for part in ("list", "call", "response") for edge in ("start", "end")),
            ),
            pad="<|pad|>",
        ),
        template="lfm2",
        tool_parser="lfm2",
        calls=formats.lfm2,
    ),
    Family(
        name="gemma-3-1b",
        architecture=architectures.gemma3,
        tokens=GEMMA,
        template="gemma-3",
        tool_parser="pythonic",
        calls=formats.python_list,
    ),
    Family(
        name="functiongemma-270m",
        architecture=architectures.gemma3,
        tokens=Tokens(
            begin="<bos>",
            end_of_text="<eos>",
            end_of_turn="<end_of_turn>",
            special=("<unk>", "<start_of_turn>"),
            plain=(
                "<start_function_declaration>",
                "<end_function_declaration>",
                "<start_function_call>",
                "<end_function_call>",
                "<escape>",
            ),
            pad="<pad>",
        ),
        template="functiongemma",
        tool_parser="functiongemma",
        calls=formats.functiongemma,
    ),
    Family(
        name="gemma-4-e2b",
        architecture=architectures.gemma4,
        tokens=Tokens(
            begin="<bos>",
            end_of_text="<eos>",
            end_of_turn="<turn|>",
            special=(
                *("<unk>", "<|turn>", "<|think|>", "<|channel>", "<channel|>", '<|"|>'),
                *("<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"),
                *("<|image>", "<image|>", "<|image|>", "<|audio|>", "<|video|>"),
            ),
            pad="<pad>",
        ),
        template="gemma-4",
        tool_parser="gemma4",
        reasoning_parser="gemma4",
        vllm_args={"language_model_only": True},
        calls=formats.gemma4,
        opens_thoughts=True,
    ),
)
