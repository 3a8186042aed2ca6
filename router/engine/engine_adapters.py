"""What a supervisor asks of the adapters of its replica. `router.adapters` has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol


class EngineAdapters(Protocol):
    """The adapters of one replica, which its engine loads after each start."""

    async def prepare(self, progress: Callable[[str], None]) -> Mapping[str, Any]:
        """Prepare the adapters and return the model's `vllm_args` with those that they need."""
        ...

    async def load(self, socket: Path) -> None:
        """Load the adapters into a healthy engine.

        Raises:
            EngineError: the engine did not answer.
        """
        ...

    def engine_ended(self) -> None:
        """Forget what the engine had loaded."""
        ...
