"""One of OpenAI's choices, as far as the router reads it: text, calls. Whatever else it holds is passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct


class Function(Struct, frozen=True):
    """What is called; `arguments` is JSON as text, as the model wrote it."""

    name: str
    arguments: str = ""


class Call(Struct, frozen=True):
    """One entry of `tool_calls`."""

    function: Function


class Message(Struct, frozen=True):
    """What a chat answer says; `function_call` is the older form of one tool call."""

    content: str | None = None
    tool_calls: Sequence[Call] | None = None
    function_call: Function | None = None


class Choice(Struct, frozen=True):
    """A choice of a chat (`message`) or of a completion (`text`)."""

    finish_reason: str | None = None
    message: Message | None = None
    text: str | None = None

    @property
    def says(self) -> str:
        """Return its text."""
        return (self.message.content if self.message else self.text) or ""

    @property
    def functions(self) -> Sequence[Function]:
        """Return what it calls, in the model's order."""
        if self.message is None:
            return ()
        calls = [call.function for call in self.message.tool_calls or ()]
        return [*calls, self.message.function_call] if self.message.function_call else calls


def has_call(message: object) -> bool:
    """Return whether a message that was only decoded calls something."""
    return isinstance(message, Mapping) and bool(message.get("tool_calls") or message.get("function_call"))


def folded(text: str) -> str:
    """Return a text without what no reader minds: letter case, and how much white space there is."""
    return " ".join(text.casefold().split())
