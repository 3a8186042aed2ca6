"""What a starting engine is doing, read from its log. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple


class Stages(NamedTuple):
    """The steps of an engine's start: the first, and each later one with the words of the log that begin it."""

    first: str
    later: tuple[tuple[str, str], ...]


VLLM_STAGES = Stages(  # words of vLLM 0.32
    "loading vLLM's code",
    (
        ("non-default args:", "reading the model's configuration"),
        ("Initializing a V1 LLM engine", "starting the engine"),
        ("Starting to load model", "loading the weights"),
        ("Loading weights took", "measuring the memory for the KV cache"),
        ("Dynamo bytecode transform", "compiling the model"),
        ("KV cache size", "warming up"),
        ("Capturing CUDA graph", "capturing CUDA graphs"),
        ("init engine (", "starting its API"),
    ),
)
SHARDS = re.compile(r"Loading safetensors checkpoint shards:\s*\d+% Completed \| (\d+)/(\d+)")


def stage_of(log: str, stages: Stages = VLLM_STAGES) -> str:
    """Return what the engine is doing, in words for the person who waits, from the log of its start so far."""
    stage = stages.first
    for words, meaning in stages.later:
        if words in log:
            stage = meaning
    if stage == "loading the weights" and (shards := SHARDS.findall(log)):
        done, total = shards[-1]
        return f"{stage}, {done} of {total} files"
    return stage
