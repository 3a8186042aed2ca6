"""Keys of a model that have keys of their own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from router.yaml.entry import Entry, Positive


class Timeouts(Entry):
    """Time limits in seconds. `first_byte_s`, `idle_s`, `min_tokens_per_s` and `probe_s` apply to streams only,
    `connect_s` and `total_s` to every answer, `load_s` and `drain_s` to models that are not always loaded."""

    connect_s: Positive = 5.0
    """the longest time to connect to the replica"""
    first_byte_s: Positive = 60.0
    """the longest time from the request to the first event of a stream"""
    idle_s: Positive = 60.0
    """the longest time between two events of a stream"""
    min_tokens_per_s: Positive | None = None
    """the lowest speed at which a stream may begin, in tokens a second (an event counts as one token); a slower one
    counts as timed out; the stream is held back until it has shown its speed. The default is no such limit"""
    probe_s: Positive = 3.0
    """how long after its first token a stream may take to show `min_tokens_per_s`"""
    total_s: Positive = 300.0
    """the longest time for the whole answer, streamed or not"""
    load_s: Positive = 180.0
    """the longest time that a request waits for the model to be loaded; then it goes to the next rung, or fails"""
    drain_s: Positive = 60.0
    """the longest time that requests may go on after their model is to be unloaded; then they are cut off"""

    @model_validator(mode="after")
    def _probe_has_a_purpose(self) -> Timeouts:
        if self.min_tokens_per_s is None and "probe_s" in self.model_fields_set:
            raise ValueError("`probe_s` needs `min_tokens_per_s`, but there is none")
        return self


class Requires(Entry):
    """What the machine must have. Otherwise the model is left out, and the log says so in one line."""

    gpu: bool
    """`true`: the model needs an NVIDIA GPU; `false`: the model is only for machines without one"""


class TransformersArgs(Entry):
    """Options of `engine: transformers`."""

    trust_remote_code: bool = False
    """`true`: run the Python code that comes with the weights, as the user who runs the gateway; read it first"""
    python: Annotated[str, Field(min_length=1)] | None = None
    """the Python interpreter of another environment, for models whose code needs other packages than the gateway has"""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """the type of the weights in memory; `auto`: as they are stored, but float32 without a GPU"""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.92
    """the share of a GPU's memory that the engine may use; the shares of all models on the GPU are added up"""
