"""The parts of an OpenAI choice that the router reads: text and tool calls. Other fields are ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct


class Function(Struct, frozen=True):
    """A called function. `arguments` is the JSON text that the model wrote."""

    name: str
    arguments: str = ""


class Call(Struct, frozen=True):
    """One entry of `tool_calls`."""

    function: Function


class Message(Struct, frozen=True):
    """The message of a chat answer. `function_call` is the older form of a single tool call."""

    content: str | None = None
    tool_calls: Sequence[Call] | None = None
    function_call: Function | None = None


class Choice(Struct, frozen=True):
    """A choice of a chat completion (`message`) or of a text completion (`text`)."""

    finish_reason: str | None = None
    message: Message | None = None
    text: str | None = None

    @property
    def answer_text(self) -> str:
        """Return the text of either form, or an empty string."""
        return (self.message.content if self.message else self.text) or ""

    @property
    def functions(self) -> Sequence[Function]:
        """Return the called functions in the model's order."""
        if self.message is None:
            return ()
        calls = [call.function for call in self.message.tool_calls or ()]
        return [*calls, self.message.function_call] if self.message.function_call else calls


def has_tool_call(message: object) -> bool:
    """Return whether a decoded message contains a tool call or a function call."""
    return isinstance(message, Mapping) and bool(message.get("tool_calls") or message.get("function_call"))


def normalized(text: str) -> str:
    """Return the text without differences in letter case or in the amount of white space."""
    return " ".join(text.casefold().split())
