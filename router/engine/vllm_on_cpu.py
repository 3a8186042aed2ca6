"""Imported by a warm parent after vLLM, on a machine without a GPU: forks inspect model classes themselves.

At the first start of an architecture, vLLM starts a process that imports it again and inspects the model's class, as
that might initialise CUDA. Without a GPU nothing does, and the fork has imported everything already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vllm.model_executor.models import registry

T = TypeVar("T")


def run_here(function: Callable[[], T]) -> T:
    """Call the function in this process."""
    return function()


if hasattr(registry, "_run_in_subprocess"):  # vLLM 0.32; if it has another name, the first start only takes longer
    registry._run_in_subprocess = run_here
