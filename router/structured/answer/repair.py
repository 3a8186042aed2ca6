"""Repairs an answer by removing what surely is not part of it, such as a code fence around the value.

Nothing is invented, completed, renamed or converted. Callers try the unchanged text first, and accept only what is
valid. Every step is linear in the length of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from router.messages.strict_json import NotJson, loads
from router.structured.answer.reasoning import separations
from router.structured.constraint import OutputFormat

_FENCE = "```"
_FENCE_INFO = re.compile(r"[\w+-]*+[ \t]*+\r?\n")
_JSON_FENCE_INFO = re.compile(r"json(?=\s*+[{\[])", re.IGNORECASE)
_OPENING_BRACKET = re.compile(r"[{\[]")
_BRACKET = re.compile(r"[{}\[\]]")
_QUOTES = ('"', "'", "`")
# keeps strings, and a comma right after an opening bracket; removes any other comma before a closing bracket
_TRAILING_COMMA = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{][ \t\n\r]*+,|,(?=[ \t\n\r]*+[}\]])', re.DOTALL)
_DECODER = json.JSONDecoder()


def repair_json(text: str, *, prose: bool = True) -> tuple[str, Any]:
    """Return an answer as strict JSON, repaired if needed, and its value. Tried in this order:

    1. The unchanged text.
    2. Without a byte order mark, leading reasoning, and a code fence around it.
    3. Without commas before a closing bracket.
    4. If `prose` is set: the only object or array in the text.

    Raises:
        NotJson: nothing of this is JSON. The message describes the unchanged text.
    """
    try:
        return text, loads(text, unique_keys=True)
    except NotJson as error:
        for candidate in dict.fromkeys(_json_candidates(text, prose)):
            try:
                return candidate, loads(candidate, unique_keys=True)
            except NotJson:
                continue
        raise error from None


def text_candidates(output_format: OutputFormat, text: str) -> Iterator[str]:
    """Yield the repaired texts to try for a choice, a regex or a grammar."""
    if output_format.kind == "structural_tag":
        return
    for _, answer in separations(text):
        bare = _unfenced(answer.strip())
        yield bare
        yield (unquoted := _unquoted(bare))
        if output_format.kind == "choice":
            yield bare.removesuffix(".")
            yield _unquoted(bare.removesuffix("."))
            yield unquoted.removesuffix(".")


def strip_opening(text: str) -> str:
    """Return a text so far without the opening line of its code fence."""
    rest = text.lstrip()
    return _without_fence_info(rest.removeprefix(_FENCE)) if rest.startswith(_FENCE) else rest


def _json_candidates(text: str, prose: bool) -> Iterator[str]:
    answer = text
    for _, answer in separations(text):
        yield answer
        inside = _unfenced(answer)
        yield inside
        yield _without_trailing_commas(inside)
    if prose:  # words around the answer, not around what the reasoning considers
        yield from _only_container(answer)


def _unfenced(text: str) -> str:
    """Return the content of a text that is one code fence, else the text itself."""
    bare = text.strip()
    if not bare.startswith(_FENCE) or not bare.endswith(_FENCE) or len(bare) < 2 * len(_FENCE):
        return text
    inside = _without_fence_info(bare[len(_FENCE) : -len(_FENCE)])
    return text if "\n" + _FENCE in inside else inside.strip()


def _without_fence_info(text: str) -> str:
    info = _FENCE_INFO.match(text) or _JSON_FENCE_INFO.match(text)
    return text[info.end() :] if info else text


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] and text[0] in _QUOTES else text


def _without_trailing_commas(text: str) -> str:
    return _TRAILING_COMMA.sub(lambda match: "" if match[0] == "," else match[0], text)


def _only_container(text: str) -> Iterator[str]:
    """Yield the only object or array in a text of prose, unless it is part of something larger."""
    opener = _OPENING_BRACKET.search(text)
    if opener is None:
        return
    before, body = text[: opener.start()].rstrip(), text[opener.start() :]
    if before.endswith(('":', '",', "}", "]")) or (before.endswith(",") and before[-2:-1].isdecimal()):
        return
    for whole in (body, _without_trailing_commas(body)):
        try:
            _, end = _DECODER.raw_decode(whole)
        except (ValueError, RecursionError):
            continue
        after = whole[end:]
        if not _BRACKET.search(after) and not after.lstrip().startswith((",", ":")):
            yield whole[:end]
        return
