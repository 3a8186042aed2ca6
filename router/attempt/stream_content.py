"""What a stream's events say to their reader: thoughts apart from the answer, and whether there is an answer."""

from __future__ import annotations

from typing import Any

from router.attempt.empty_answer import Expectation
from router.errors import AnswerEmpty
from router.messages.visible import Visible
from router.structured.answer.thoughts import ThoughtSeparator, begins_inside_thoughts
from router.types import Usage

_TAG_CHARS = len("`</think>")
"""of the end of thoughts, with a quote before it, which makes it a part of the text"""


class StreamContent:
    """Reads the chunks of one stream, in OpenAI's form, and moves thoughts out of the content of a free text.

    Attributes:
        is_holding: nothing may leave before there is something visible, because another model can be asked instead.
        is_settled: something visible came, and no thoughts can follow: further chunks need not be read.
        tag: the end of what was read, if it may be the beginning of a tag; servers cut tags, too.
    """

    def __init__(self, expected: Expectation, *, holds: bool) -> None:
        self._expected = expected
        self._visible = Visible()
        is_chat = expected.call.endpoint.has_messages
        self.is_holding = holds and is_chat
        self.is_settled = not is_chat
        self._separator: ThoughtSeparator | None = None
        if is_chat and expected.is_free:
            begins_inside = expected.model.name in expected.begins_inside_thoughts
            self._separator = ThoughtSeparator(expected.call.choices, begins_inside=begins_inside)
        self._learns = self._separator is not None
        self.tag = ""

    @property
    def is_visible(self) -> bool:
        """Return whether there is something for the reader."""
        return self._visible.found

    def read(self, chunk: dict[str, Any]) -> bool:
        """Read a chunk, and move its thoughts, in place; return whether it was changed."""
        is_changed = False
        if (separator := self._separator) is not None:
            is_changed = separator.feed(chunk)
            if separator.was_wrong:
                self._expected.learn_thoughts(begins_inside=False)
            if separator.is_done:
                self._separator = None
        if not self._visible.found:
            self._visible.look(chunk.get("choices") or ())
            self.is_holding = self.is_holding and not self._visible.found
        self.is_settled = self._visible.found and self._separator is None
        return is_changed

    def learn(self, chunk: dict[str, Any]) -> None:
        """See whether the end of thoughts comes whose beginning did not: the next answer can be read with that."""
        if not self._learns:
            return
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta")
            content = delta.get("content") if isinstance(delta, dict) else None
            if isinstance(content, str):
                text = self.tag + content
                if begins_inside_thoughts(text):
                    self._expected.learn_thoughts(begins_inside=True)
                end = text[-_TAG_CHARS:]
                self.tag = end if "<" in end else ""

    def fault(self, usage: Usage | None) -> AnswerEmpty | None:
        """Return the error of a finished answer that is empty, or None."""
        return self._expected.fault(self._visible, usage)
