"""Functions on pictures."""

from typing import Any

from torchvision.transforms import InterpolationMode

__all__ = ["InterpolationMode", "pil_to_tensor"]


def pil_to_tensor(*_: Any, **__: Any) -> Any:
    """There are no pictures."""
    raise NotImplementedError("this torchvision is a stand-in")
