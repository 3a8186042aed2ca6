"""LoRA adapters in PEFT's format, with random values so large that a tiny model answers differently with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
from safetensors.numpy import save

from tests.support.tiny_llama import SIZES

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
SCALE = 2.0


def adapter_config(rank: int = 8, **changes: Any) -> dict[str, Any]:
    written = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
    }
    return written | changes


def write_adapter(folder: Path, seed: int, rank: int = 8, **changes: Any) -> Path:
    """Write, or overwrite, an adapter for a tiny Llama; return its folder."""
    random = numpy.random.default_rng(seed)
    width = SIZES["hidden_size"]
    tensors = {}
    for layer in range(SIZES["num_hidden_layers"]):
        for module, out in (("q_proj", width), ("v_proj", width // 2)):
            at = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{at}.lora_A.weight"] = random.normal(0, SCALE, (rank, width)).astype(numpy.float32)
            tensors[f"{at}.lora_B.weight"] = random.normal(0, SCALE, (out, rank)).astype(numpy.float32)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(adapter_config(rank, **changes)))
    (folder / WEIGHTS).write_bytes(save(tensors))
    return folder
