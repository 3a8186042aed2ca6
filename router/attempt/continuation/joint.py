"""Joins the rest of an answer to its beginning, so that the client sees one stream. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.attempt.continuation.plan import Plan
from router.attempt.continuation.sent import FRAME, THOUGHTS, Sent
from router.errors import AnswerDiverged
from router.messages.answer import is_usage_chunk, write
from router.messages.usage import read_usage
from router.structured.answer.assemble import endpoint_fields
from router.types import ChatCall, Usage

_CONTENT, _FUNCTION = "content", "function_call"
_FIRST_ONLY = frozenset({*FRAME, "prompt_token_ids"})
"""the fields of a chunk that are those of the beginning"""
MIN_LENGTH, MIN_DISTINCT = 5, 4
"""characters: a shorter or more uniform beginning may well come twice in an answer"""
_JOINED = frozenset({"role", "tool_calls", _CONTENT, _FUNCTION, *THOUGHTS})
"""the fields of a delta that are joined; others pass"""


class Joint:
    """Turns each chunk of the rest into the chunk that the client gets.

    What was sent and comes again is left out. The frame is that of the beginning, the usage that of the whole answer.

    Attributes:
        usage: the usage of the whole answer, once it has come.
    """

    def __init__(self, call: ChatCall, sent: Sent, plan: Plan) -> None:
        self.usage: Usage | None = None
        self._call = call
        self._sent = sent
        self._plan = plan
        self._again: dict[str | int, str] = {_CONTENT: sent.content if plan.is_replay else plan.repeated}
        """what was sent, must come again, and has not yet: the content, and the arguments of each call"""
        self._blank = "" if plan.is_replay else plan.again
        """whitespace that was sent and may come again"""
        if plan.is_replay:
            self._again |= {index: one.arguments for index, one in sent.calls.items()}
            if sent.function_call:
                self._again[_FUNCTION] = sent.function_call.arguments
        self._unnamed = {*self._again} - {_CONTENT}
        """the calls whose name has not come again yet"""
        self._drops_thoughts = plan.is_replay or bool(sent.thoughts and not plan.kept_tokens)
        self._stop = _StopAcross(call.body.get("stop"), "" if plan.is_replay else sent.content)
        may_begin_anew = not (plan.is_replay or plan.repeated or call.body.get("logprobs"))
        self._anew = _BegunAnew(sent.content.removesuffix(plan.again) if may_begin_anew else "")

    def join(self, chunk: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the chunk as the client gets it; None if nothing in it is new.

        Raises:
            AnswerDiverged: the answer is not the one that was sent.
        """
        joined = self._sent.frame | {key: value for key, value in chunk.items() if key not in _FIRST_ONLY}
        if usage := chunk.get("usage"):
            joined["usage"] = self._usage_of_all(usage)
        if parts := chunk.get("choices"):
            joined["choices"] = [new for part in parts if (new := self._join_part(part))]
            if not joined["choices"]:
                return None
        return joined

    def _join_part(self, part: Mapping[str, Any]) -> dict[str, Any] | None:
        joined = dict(endpoint_fields(part, self._call.endpoint))
        delta, finish = joined.get("delta"), joined.get("finish_reason")
        is_after_stop = self._stop.was_found
        if isinstance(delta, dict):
            joined["delta"] = new = self._join_delta(delta, ends=bool(finish))
        else:
            new = {"text": self._join_content(joined.get("text"), ends=bool(finish))}
            joined |= new
        if finish and self._is_repeating:
            raise _diverged()
        if self._stop.was_found:
            joined["finish_reason"] = "stop"
        return joined if not is_after_stop and (joined.get("finish_reason") or any(new.values())) else None

    def _join_delta(self, delta: Mapping[str, Any], *, ends: bool) -> dict[str, Any]:
        joined = {key: value for key, value in delta.items() if key not in _JOINED}
        if self._is_repeating and any(joined.values()):
            raise _diverged()
        thoughts, text = [delta.get(name) for name in THOUGHTS], delta.get(_CONTENT)
        if text or delta.get("tool_calls") or delta.get(_FUNCTION):
            self._drops_thoughts = False
        if not self._drops_thoughts and not self._is_repeating:
            if self._plan.kept_tokens:  # the engine took the rest of the text for thoughts, as no thoughts came before
                text = (text or "") + next((value for value in thoughts if isinstance(value, str)), "")
            else:
                joined |= {name: value for name, value in zip(THOUGHTS, thoughts, strict=True) if value}
        if content := self._join_content(text, ends=ends):
            joined[_CONTENT] = content
        if calls := [new for call in delta.get("tool_calls") or () if (new := self._join_call(call))]:
            joined["tool_calls"] = calls
        if (legacy := delta.get(_FUNCTION)) and (function := self._join_function(_FUNCTION, legacy)):
            joined[_FUNCTION] = function
        return joined

    def _join_content(self, text: object, *, ends: bool) -> str:
        text = self._anew.cut(text if isinstance(text, str) else "", ends=ends)
        return self._stop.cut(self._rest(_CONTENT, text), ends=ends)

    def _join_call(self, call: Mapping[str, Any]) -> dict[str, Any] | None:
        index = call.get("index")
        if index not in self._sent.calls:
            if self._is_repeating:
                raise _diverged()
            return dict(call)
        function = self._join_function(index, call.get("function") or {})
        return {"index": index, "function": function} if function else None

    def _join_function(self, key: str | int, function: Mapping[str, Any]) -> dict[str, Any] | None:
        sent = self._sent.function_call if key == _FUNCTION else self._sent.calls.get(int(key))
        if sent is None:
            return dict(function)
        if name := function.get("name"):
            if name != sent.name:
                raise _diverged()
            self._unnamed.discard(key)
        rest = self._rest(key, function.get("arguments") or "")
        return {"arguments": rest} if rest else None

    @property
    def _is_repeating(self) -> bool:
        return any(self._again.values()) or bool(self._unnamed)

    def _rest(self, key: str | int, text: str) -> str:
        """Return the part of a text that was not sent."""
        again = self._again.get(key, "")
        same = _common(again, text)
        if same < min(len(again), len(text)):
            raise _diverged()
        self._again[key], text = again[same:], text[same:]
        if text and self._is_repeating:
            raise _diverged()
        if text and key == _CONTENT and self._blank:
            same = _common(self._blank, text)
            self._blank = self._blank[same:] if same == len(text) else ""
            text = text[same:]
        return text

    @property
    def _sends_thoughts(self) -> bool:
        return "reasoning_content" in self._plan.changes.get("messages", [{}])[-1]

    def _usage_of_all(self, usage: Mapping[str, Any]) -> dict[str, Any]:
        """Return the usage of one undisturbed answer: what was sent counts as generated, not as prompt."""
        counted, kept, before = read_usage(usage), self._plan.kept_tokens, self._sent.usage
        if counted is None:
            return dict(usage)
        repeated = kept - (0 if self._sends_thoughts else self._sent.thought_tokens)  # in the prompt
        prompt = counted.prompt - repeated if counted.prompt > repeated else counted.prompt  # some do not count it
        if kept and before:
            prompt, kept = before.prompt, max(kept, before.completion - self._sent.blank_tokens)
        if self._anew.was_found:
            kept = 0
        completion = kept + counted.completion
        self.usage = Usage(prompt, min(counted.cached, prompt), completion)
        whole: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        if counted.cached > prompt:
            whole["prompt_tokens_details"] = {**usage["prompt_tokens_details"], "cached_tokens": prompt}
        return {**usage, **whole}


class _StopAcross:
    """A stop text that begins at the end of what was sent and ends in the rest: the upstream cannot see it."""

    def __init__(self, stop: object, sent: str) -> None:
        stops = [stop] if isinstance(stop, str) else stop or []
        assert isinstance(stops, list)  # noqa: S101 - validated
        self._rests = [one[at:] for one in stops for at in range(1, len(one)) if sent.endswith(one[:at])]
        """the ends of the stop texts of which a beginning was sent"""
        self._text = ""
        """the beginning of the rest, while it may be such an end"""
        self.was_found = False

    def cut(self, text: str, *, ends: bool) -> str:
        """Return what may be sent of the next piece."""
        if self.was_found or not self._rests:
            return "" if self.was_found else text
        self._text += text
        self.was_found = self._text.startswith(tuple(self._rests))
        if self.was_found or (not ends and any(rest.startswith(self._text) for rest in self._rests)):
            return ""
        self._rests = []
        return self._text


class _BegunAnew:
    """The beginning of an answer, said again by an upstream that was to go on from it and does not know how to."""

    def __init__(self, beginning: str) -> None:
        is_telling = len(beginning) >= MIN_LENGTH and len(set(beginning)) >= MIN_DISTINCT
        self._beginning = beginning if is_telling else ""
        self._text = ""
        """what was said, while it may be the beginning"""
        self.was_found = False

    def cut(self, text: str, *, ends: bool) -> str:
        """Return what may be sent of the next piece."""
        if not self._beginning:
            return text
        self._text += text
        if not ends and len(self._text) < len(self._beginning) and self._beginning.startswith(self._text):
            return ""
        self.was_found = self._text.startswith(self._beginning)
        said, self._beginning = self._text.removeprefix(self._beginning), ""
        return said


def closing_events(call: ChatCall, sent: Sent, prompt_tokens: int) -> list[bytes]:
    """Return the events that end an answer of which only the end is missing.

    `prompt_tokens` is an estimate, for an upstream that did not count them.
    """
    events: list[Mapping[str, Any]] = []
    if sent.finish_reason is None:
        part: dict[str, Any] = {"delta": {}} if call.endpoint.has_messages else {"text": ""}
        events.append({"choices": [{"index": 0, **part, "logprobs": None, "finish_reason": "length"}]})
    if call.include_usage and not any(map(is_usage_chunk, sent.chunks)):
        counted = sent.usage or Usage(prompt_tokens, completion=sent.tokens)
        usage = {"prompt_tokens": counted.prompt, "completion_tokens": counted.completion}
        events.append({"choices": [], "usage": usage | {"total_tokens": counted.prompt + counted.completion}})
    return [write({**sent.frame, **event}) for event in events]


def _common(one: str, other: str) -> int:
    """Return the number of characters with which both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _diverged() -> AnswerDiverged:
    return AnswerDiverged("the stream broke off, and another replica did not repeat its beginning")
