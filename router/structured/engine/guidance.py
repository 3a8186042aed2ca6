"""llguidance: how much of a format its grammars enforce, and whether a text matches a grammar.

Only grammar workers import this: a compile or a match may take any amount of time and memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, StructTag, TokenizerWrapper, grammar_from

from router.structured.engine.gaps import enforcement_gap
from router.structured.workers.grammar_workers import GrammarSupport, Match
from router.types import FormatKind


class _ByteVocabulary:
    """A vocabulary with one token per byte, independent of any model's tokenizer."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"")
    special_token_ids = (eos_token_id,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


_TOKENIZER = LLTokenizer(TokenizerWrapper(_ByteVocabulary()), slices=[])
_LIMITS = LLParserLimits(verbose_errors=False)


def grammar_support(kind: FormatKind, source: str) -> GrammarSupport:
    """Return how much of a format vLLM's decoding enforces."""
    if kind == "json_object":
        return GrammarSupport("whole")
    if kind != "json_schema":
        if fault := grammar_fault(kind, source):
            return GrammarSupport("none", fault)
        return _tag_support(source) if kind == "structural_tag" else GrammarSupport("whole")
    schema = json.loads(source)
    fault = _compiled_schema(schema, lenient=False).get_error()
    if not fault:
        reason = enforcement_gap(schema, "guidance")
        return GrammarSupport("partial", reason) if reason else GrammarSupport("whole")
    if _compiled_schema(schema, lenient=True).is_error():
        return GrammarSupport("none", _one_line(fault))
    return GrammarSupport("partial", _one_line(fault), lenient=True)


def grammar_fault(kind: FormatKind, source: str) -> str | None:
    """Return why a regex, grammar, list of choices or structural tag cannot be used, or None if it can."""
    try:
        matcher = _compiled(kind, source)
    except ValueError as error:
        return _one_line(str(error))
    return _one_line(matcher.get_error()) or None


def match(kind: FormatKind, source: str, text: str) -> Match:
    """Match a whole text against a valid regex, grammar, list of choices or structural tag."""
    matcher = _compiled(kind, source).deep_copy()
    written = text.encode()
    consumed = matcher.try_consume_tokens(list(written))
    if matcher.is_error():
        return Match("invalid", f"cannot be checked: {_one_line(matcher.get_error())}")
    if consumed < len(written):
        after = len(written[:consumed].decode(errors="ignore"))
        return Match("invalid", f"it does not match the {kind} after {after} characters")
    if not matcher.is_accepting():
        return Match("incomplete", f"it ends before the {kind} does")
    return Match("valid")


@lru_cache(maxsize=16)
def _compiled(kind: FormatKind, source: str) -> LLMatcher:
    grammar = _tag_grammar(source) if kind == "structural_tag" else grammar_from(kind, source)  # type: ignore[arg-type]
    return _matcher(grammar)


def _compiled_schema(schema: Mapping[str, Any], *, lenient: bool) -> LLMatcher:
    # overrides the client's own `x-guidance`: the gateway sets these options
    return _matcher(LLMatcher.grammar_from_json_schema({**schema, "x-guidance": {"lenient": lenient}}))


def _matcher(grammar: str) -> LLMatcher:
    return LLMatcher(_TOKENIZER, grammar, log_level=0, limits=_LIMITS)


def _tag_grammar(source: str) -> str:
    """Return the grammar of a structural tag in its older version (`structures` and `triggers`).

    Raises:
        ValueError: the tag is not valid.
    """
    try:
        tag = json.loads(source)
        tags = [_struct_tag(structure, tag["triggers"]) for structure in tag["structures"]]
    except (KeyError, TypeError, AttributeError):
        raise ValueError("expected an object with 'structures' (each with begin, schema, end) and 'triggers'") from None
    if not tags:
        raise ValueError("'structures' is empty")
    return StructTag.to_grammar(tags, assume_special=False)


def _struct_tag(structure: Mapping[str, Any], triggers: list[str]) -> StructTag:
    begin = structure["begin"]
    trigger = next((trigger for trigger in triggers if trigger and begin.startswith(trigger)), None)
    if trigger is None:
        raise ValueError(f"no trigger begins {begin[:80]!r}")
    return StructTag(trigger=trigger, begin=begin, grammar=json.dumps(structure["schema"]), end=structure["end"])


def _tag_support(source: str) -> GrammarSupport:
    for trigger in map(str, json.loads(source)["triggers"]):
        if trigger.startswith("<") and trigger.endswith(">"):
            return GrammarSupport("none", f"vLLM treats the trigger {trigger[:80]!r} as a special token of the model")
    # vLLM wraps the schema once too often
    return GrammarSupport("partial", "vLLM allows any JSON inside a tag")


def _one_line(message: str) -> str:
    return " ".join(message.split())[:300]
