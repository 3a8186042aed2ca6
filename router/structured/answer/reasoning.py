"""Reasoning in a text: a `<think>` block before the answer. Pure.

Some chat templates open the block in the prompt. The text then begins inside it, and only its end can be seen.
"""

from __future__ import annotations

from collections.abc import Iterator

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
_BYTE_ORDER_MARK = "\ufeff"


def split_reasoning(text: str) -> tuple[str, str]:
    """Return the content of a leading `<think>` block, and the text after it. A byte order mark is removed.

    If the block is not closed, the text after it is empty. A block that the prompt opened is not separated, unless it
    is empty.
    """
    bare = text.removeprefix(_BYTE_ORDER_MARK)
    start = bare.lstrip()
    if start.startswith(THINK_CLOSE):
        return "", start.removeprefix(THINK_CLOSE)
    if not start.startswith(THINK_OPEN):
        return "", bare
    reasoning, _, rest = start.removeprefix(THINK_OPEN).partition(THINK_CLOSE)
    return reasoning.strip(), rest


def separations(text: str) -> Iterator[tuple[str, str]]:
    """Yield each way to separate a text into reasoning and answer, the more certain one first.

    1. As `split_reasoning`.
    2. If no block begins before its end: at the first end, because the prompt may have opened the block.
    """
    yield split_reasoning(text)
    before, end, after = text.removeprefix(_BYTE_ORDER_MARK).partition(THINK_CLOSE)
    if end and before.strip() and THINK_OPEN not in before:
        yield before.strip(), after


def removed_reasoning(text: str, answer: str) -> str:
    """Return the reasoning that was separated from a text to leave an answer, or "" if none was."""
    *_, (reasoning, _) = separations(text)
    return reasoning if answer.count(THINK_CLOSE) < text.count(THINK_CLOSE) else ""


def may_be_reasoning(text: str) -> bool:
    """Return whether a text so far is, or may still become, only reasoning. It is no block that the prompt opened."""
    bare = text.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if bare.startswith(THINK_OPEN):
        return THINK_CLOSE not in bare
    return THINK_OPEN.startswith(bare) or (THINK_CLOSE.startswith(bare) and bare != THINK_CLOSE)


def drop_reasoning(text: str) -> str:
    """Return a text so far without its reasoning. Of unfinished reasoning, keep just enough to recognize its end."""
    if not may_be_reasoning(text):
        return split_reasoning(text)[1].lstrip()
    bare = text.removeprefix(_BYTE_ORDER_MARK).lstrip()
    return bare[: len(THINK_OPEN)] + bare[len(THINK_OPEN) :][-len(THINK_CLOSE) :]
