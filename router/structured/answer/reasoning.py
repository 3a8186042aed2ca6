"""Reasoning in a text: a `<think>` block before the answer. Pure."""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"
_BYTE_ORDER_MARK = "\ufeff"


def split_reasoning(text: str) -> tuple[str, str]:
    """Return the content of a leading `<think>` block, and the text after it. A byte order mark is removed.

    If the block is not closed, the text after it is empty.
    """
    bare = text.removeprefix(_BYTE_ORDER_MARK)
    if not bare.lstrip().startswith(_OPEN):
        return "", bare
    reasoning, _, rest = bare.lstrip().removeprefix(_OPEN).partition(_CLOSE)
    return reasoning.strip(), rest


def may_be_reasoning(text: str) -> bool:
    """Return whether a text so far is, or may still become, only reasoning."""
    bare = text.removeprefix(_BYTE_ORDER_MARK).lstrip()
    return _OPEN.startswith(bare) or (bare.startswith(_OPEN) and _CLOSE not in bare)


def drop_reasoning(text: str) -> str:
    """Return a text so far without its reasoning. Of unfinished reasoning, keep just enough to recognize its end."""
    if not may_be_reasoning(text):
        return split_reasoning(text)[1].lstrip()
    bare = text.removeprefix(_BYTE_ORDER_MARK).lstrip()
    return bare[: len(_OPEN)] + bare[len(_OPEN) :][-len(_CLOSE) :]
