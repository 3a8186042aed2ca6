"""Keys of a model that have keys of their own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from router.yaml.entry import Entry, Positive


class Timeouts(Entry):
    """Time limits in seconds. `first_byte_s` and `idle_s` apply to streams only, `connect_s` and `total_s` to every
    answer, `load_s` and `drain_s` to models that are not always loaded."""

    connect_s: Positive = 5.0
    """the longest time to connect to the replica"""
    first_byte_s: Positive = 60.0
    """the longest time from the request to the first event of a stream"""
    idle_s: Positive = 60.0
    """the longest time between two events of a stream"""
    total_s: Positive = 300.0
    """the longest time for the whole answer, streamed or not"""
    load_s: Positive = 180.0
    """the longest time that a request waits for the model to be loaded; then it goes to the next rung, or fails"""
    drain_s: Positive = 60.0
    """the longest time that requests may go on after their model is to be unloaded; then they are cut off"""


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
