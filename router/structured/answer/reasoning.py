"""Thoughts in a text: a `<think>` block that stands before the answer. Pure."""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"
_BYTE_ORDER_MARK = "\ufeff"


def without_thought(text: str) -> tuple[str, str]:
    """Return a leading block's inside, and what follows it, without a byte order mark.

    A block without an end leaves nothing.
    """
    bare = text.removeprefix(_BYTE_ORDER_MARK)
    if not bare.lstrip().startswith(_OPEN):
        return "", bare
    thought, _, rest = bare.lstrip().removeprefix(_OPEN).partition(_CLOSE)
    return thought.strip(), rest


def is_thinking(text: str) -> bool:
    """Return whether the beginning of a text is, or may be, no more than that of its thoughts."""
    bare = text.removeprefix(_BYTE_ORDER_MARK).lstrip()
    return _OPEN.startswith(bare) or (bare.startswith(_OPEN) and _CLOSE not in bare)


def shortened(text: str) -> str:
    """Return the beginning of a text without its thoughts; where they go on, with enough of them to see their end."""
    if not is_thinking(text):
        return without_thought(text)[1].lstrip()
    bare = text.removeprefix(_BYTE_ORDER_MARK).lstrip()
    return bare[: len(_OPEN)] + bare[len(_OPEN) :][-len(_CLOSE) :]
