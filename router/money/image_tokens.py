"""The most tokens that the images of a request count as. Pure.

OpenAI scales an image into a square of 2048 pixels, then its shorter side to 768, and counts tiles of 512 pixels. Other
models count in other ways: `image_tokens` of a model's price is the most that one image counts as.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Iterator, Mapping
from typing import Any

from router.messages.image_size import Size, image_size
from router.types import ChatCall

BASE_TOKENS, TILE_TOKENS = 85, 170
MAX_IMAGE_TOKENS = BASE_TOKENS + 8 * TILE_TOKENS
"""of any size: the largest image is scaled to 2048 by 768 pixels"""
HEADER_CHARS = 256 * 1024
"""of base64, in which the size must be found; a JPEG may have profiles and previews before it"""


def bounded_prompt(call: ChatCall, image_tokens: int | None) -> int:
    """Return the most tokens that a prompt with images has: no text has more tokens than bytes.

    `image_tokens` is what one image counts as at most, or None for OpenAI's formula.
    """
    most = call.size
    for url, detail in _images(call):
        most += image_tokens or _tokens(url, detail)
        most -= len(url) if url.startswith("data:") else 0
    return most


def tile_tokens(size: Size | None, detail: object = None) -> int:
    """Return what an image of this size counts as by OpenAI's formula; None: its size is unknown."""
    if detail == "low":
        return BASE_TOKENS
    if size is None:
        return MAX_IMAGE_TOKENS
    longer, shorter = max(size), min(size)
    if longer > 2048:
        longer, shorter = 2048, -(-shorter * 2048 // longer)
    if shorter > 768:
        longer, shorter = -(-longer * 768 // shorter), 768
    return BASE_TOKENS + TILE_TOKENS * -(-longer // 512) * -(-shorter // 512)


def _tokens(url: str, detail: object) -> int:
    if detail == "low":
        return BASE_TOKENS
    head, comma, encoded = url[: HEADER_CHARS + 128].partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        return MAX_IMAGE_TOKENS
    try:
        data = b64decode(encoded[: len(encoded) // 4 * 4])
    except (Error, ValueError):
        return MAX_IMAGE_TOKENS
    return tile_tokens(image_size(data))


def _images(call: ChatCall) -> Iterator[tuple[str, object]]:
    """Yield the URL and the `detail` of each image."""
    for message in call.endpoint.messages(call.body):
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part["type"] == "image_url":
                image: Any = part.get("image_url")
                url = image.get("url") if isinstance(image, Mapping) else image
                yield (
                    (url if isinstance(url, str) else ""),
                    (image.get("detail") if isinstance(image, Mapping) else None),
                )
