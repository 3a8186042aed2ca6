"""What a starting vLLM is doing, read from its log. Pure."""

from __future__ import annotations

import re

LOADING_CODE = "loading vLLM's code"
# Words of the log messages of vLLM 0.32, in the order of a start, and what vLLM does after each of them.
STAGES = (
    ("non-default args:", "reading the model's configuration"),
    ("Initializing a V1 LLM engine", "starting the engine"),
    ("Starting to load model", "loading the weights"),
    ("Loading weights took", "measuring the memory for the KV cache"),
    ("Dynamo bytecode transform", "compiling the model"),
    ("KV cache size", "warming up"),
    ("Capturing CUDA graph", "capturing CUDA graphs"),
    ("init engine (", "starting its API"),
)
SHARDS = re.compile(r"Loading safetensors checkpoint shards:\s*\d+% Completed \| (\d+)/(\d+)")


def stage_of(log: str) -> str:
    """Return what vLLM is doing, in words for the person who waits, from the log of its start so far."""
    stage = LOADING_CODE
    for words, meaning in STAGES:
        if words in log:
            stage = meaning
    if stage == "loading the weights" and (shards := SHARDS.findall(log)):
        done, total = shards[-1]
        return f"{stage}, {done} of {total} files"
    return stage
