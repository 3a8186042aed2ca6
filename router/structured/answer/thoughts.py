"""Thoughts in the content of a free text: moved to a field of their own, whole and streamed. Pure.

A server without a parser for the model's thoughts leaves them in the content: `<think>...</think>` before the answer,
or, where the chat template opened the block in the prompt, only its end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from router.messages.openai_form import REASONING
from router.structured.answer.reasoning import THINK_CLOSE, THINK_OPEN

_LONE_CLOSE = re.compile(r"(?<![`\"'(\\])</think>")
"""the end of a block; in quotes it is what a text tells of it"""
_BLANKS = "\ufeff \t\r\n"


def separate_thoughts(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a whole message with the thoughts of its content in `reasoning_content`; the same one if it has none.

    1. The content begins with `<think>`: up to `</think>`, or to its end.
    2. The content has `</think>` without a `<think>` before it: up to there.
    """
    content = message.get("content")
    if not isinstance(content, str) or "think>" not in content:
        return message
    bare = content.lstrip(_BLANKS)
    if bare.startswith(THINK_OPEN):
        thoughts, _, answer = bare.removeprefix(THINK_OPEN).partition(THINK_CLOSE)
    elif (close := _LONE_CLOSE.search(content)) and THINK_OPEN not in content[: close.start()]:
        thoughts, answer = content[: close.start()], content[close.end() :]
    else:
        return message
    parts = [part for part in (message.get(REASONING), thoughts.strip()) if part]
    reasoning = {REASONING: "\n".join(parts)} if parts else {}
    return {**message, "content": answer.lstrip(), **reasoning}


def begins_inside_thoughts(content: object) -> bool:
    """Return whether the content of a whole answer, or of an event, ends a block that the prompt has opened."""
    if not isinstance(content, str):
        return False
    close = _LONE_CLOSE.search(content)
    return close is not None and THINK_OPEN not in content[: close.start()]


class ThoughtSeparator:
    """Does the same for the events of a stream. A choice is at its start, in its thoughts, behind them, or plain.

    At the start, blanks and what may become `<think>` wait for the next piece. An end without a beginning cannot be
    foreseen: only if `begins_inside` says that the model's answers begin inside their thoughts.

    Attributes:
        is_done: every choice so far is plain, and stays so.
        was_wrong: `begins_inside` was said, and an answer ended without an end of its thoughts.
    """

    def __init__(self, choices: int, *, begins_inside: bool = False) -> None:
        self.is_done = False
        self.was_wrong = False
        self._begins_inside = begins_inside
        self._choices = choices
        self._states: dict[int, _State] = {}

    def feed(self, chunk: dict[str, Any]) -> bool:
        """Move thoughts within one event, in place; return whether it was changed.

        The event's choices are objects.
        """
        changed = False
        for choice in chunk.get("choices") or ():
            index, delta = choice.get("index"), choice.get("delta")
            if not isinstance(index, int) or not isinstance(delta, dict):
                continue
            if (state := self._states.get(index)) is None:
                state = self._states[index] = _State(begins_inside=self._begins_inside)
            if not state.is_plain:
                changed |= self._feed_choice(state, choice, delta)
        if len(self._states) >= self._choices:
            self.is_done = all(state.is_plain for state in self._states.values())
        return changed

    def _feed_choice(self, state: _State, choice: Mapping[str, Any], delta: dict[str, Any]) -> bool:
        piece = delta.get("content")
        if delta.get(REASONING):
            state.expect_no_thoughts()
        thoughts, answer = state.take(piece) if isinstance(piece, str) and piece else ("", "")
        if reason := choice.get("finish_reason"):
            more_thoughts, more = state.end(is_cut=reason == "length")
            thoughts, answer = thoughts + more_thoughts, answer + more
            self.was_wrong = self.was_wrong or state.was_wrong
        if answer == (piece or "") and not thoughts:
            return False
        if thoughts:
            delta[REASONING] = delta.get(REASONING, "") + thoughts
        if answer or "content" in delta:
            delta["content"] = answer if answer or not thoughts else None
        if delta.get("content", "") is None:
            del delta["content"]
        return True


class _State:
    """One choice."""

    __slots__ = ("_held", "_inside", "_text", "begins_inside", "has_thoughts", "is_plain", "was_wrong")

    def __init__(self, *, begins_inside: bool) -> None:
        self.begins_inside = begins_inside
        self.is_plain = False
        self.has_thoughts = False
        self.was_wrong = False
        self._inside: bool | None = True if begins_inside else None
        """True: in the thoughts; False: behind them; None: at the start"""
        self._held = ""
        self._text = ""
        """with `begins_inside`: what was taken for thoughts, as it may be the answer"""

    def take(self, piece: str) -> tuple[str, str]:
        """Read on; return the thoughts and the answer that can leave now."""
        text, self._held = self._held + piece, ""
        if self._inside is None:
            bare = text.lstrip(_BLANKS)
            if THINK_OPEN.startswith(bare):
                self._held = text
                return "", ""
            if not bare.startswith(THINK_OPEN):
                before, end, after = text.partition(THINK_CLOSE)
                self.is_plain = True
                return (before, after.lstrip()) if end and before.strip() else ("", text)
            text, self._inside = bare.removeprefix(THINK_OPEN), True
        if self._inside:
            return self._think(text)
        return "", self._answer(text)

    def expect_no_thoughts(self) -> None:
        """Take the content as the answer, unless it says otherwise: the server has a field for the thoughts."""
        if self.begins_inside and not self.has_thoughts:
            self.begins_inside, self._inside = False, None

    def end(self, *, is_cut: bool) -> tuple[str, str]:
        """Return what was still held, at the end of the choice."""
        held, self._held = self._held, ""
        self.is_plain = True
        if not self._inside:
            return "", held
        self.was_wrong = self.begins_inside and not is_cut
        return (held, self._text + held) if self.was_wrong else (held, "")

    def _think(self, text: str) -> tuple[str, str]:
        if self.begins_inside and not self.has_thoughts:  # a model that begins its thoughts itself, after all
            bare = text.lstrip(_BLANKS)
            if THINK_OPEN.startswith(bare):
                self._held = text
                return "", ""
            text = bare.removeprefix(THINK_OPEN)
        self.has_thoughts = True
        before, end, after = text.partition(THINK_CLOSE)
        if end:
            self._inside = False
            return before, self._answer(after)
        keep = next((size for size in range(len(THINK_CLOSE) - 1, 0, -1) if text.endswith(THINK_CLOSE[:size])), 0)
        out, self._held = (text[:-keep], text[-keep:]) if keep else (text, "")
        if self.begins_inside:
            self._text += out
        return out, ""

    def _answer(self, text: str) -> str:
        answer = text.lstrip()
        self.is_plain = bool(answer)
        return answer
