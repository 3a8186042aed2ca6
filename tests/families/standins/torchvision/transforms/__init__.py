"""Changes pictures."""

from enum import Enum


class InterpolationMode(Enum):
    """transformers maps Pillow's modes to these when it is imported."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"
