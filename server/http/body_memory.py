"""Bounds the memory of large request bodies, such as those with images. Many at once would otherwise fill it."""

from __future__ import annotations

from router.config.models import Config
from router.errors import Overloaded

SMALL_BYTES = 2**20
"""smaller bodies are not counted: a request has other memory of that size"""
MAX_HELD_BYTES = 256 * 2**20
"""of the large bodies of one process; a request takes about four times its body"""
DEFAULT_MAX_BODY_BYTES = 16 * 2**20
DEFAULT_MAX_BODY_BYTES_WITH_IMAGES = 64 * 2**20
"""twenty photographs as clients send them, in base64"""


def max_body_bytes(setting: int | None, config: Config) -> int:
    """Return the limit on one body: the operator's, or a default that is higher if a model takes images."""
    if setting is not None:
        return setting
    takes_images = any("image" in model.abilities for model in config.models.values())
    return DEFAULT_MAX_BODY_BYTES_WITH_IMAGES if takes_images else DEFAULT_MAX_BODY_BYTES


class BodyMemory:
    """Counts the bytes of the large bodies that are being read or answered."""

    def __init__(self, max_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_bytes = max_bytes
        self.held = 0

    def take(self, more: int, own: int) -> None:
        """Count `more` bytes of a body of which `own` bytes are counted already.

        Raises:
            Overloaded: there is no room beside the other bodies. A body alone always has room.
        """
        if self.held > own and self.held + more > self._max_bytes:
            raise Overloaded("The server has too many large request bodies now.", retry_after_s=1.0)
        self.held += more

    def release(self, size: int) -> None:
        """Count out a whole body of `size` bytes, or the part of it that was taken."""
        if size > SMALL_BYTES:
            self.held -= size
