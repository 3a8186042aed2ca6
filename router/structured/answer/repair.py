"""What around an answer is surely not part of it: taken off, it leaves the value that the model wrote.

Nothing is invented, closed, renamed or converted. Who asks tries the text as it is first, and takes only what is valid.
Every step is linear in the text's length, whatever is in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from router.messages.strict_json import NotJson, loads
from router.structured.answer.reasoning import without_thought
from router.structured.constraint import OutputFormat

_FENCE = "```"
_INFO = re.compile(r"[\w+-]*+[ \t]*+\r?\n")
_JSON_INFO = re.compile(r"json(?=\s*+[{\[])", re.IGNORECASE)
_OPENER = re.compile(r"[{\[]")
_BRACKET = re.compile(r"[{}\[\]]")
_QUOTES = ('"', "'", "`")
# a string, or the beginning of a container with a comma, is kept; another comma before a closing bracket goes
_TRAILING_COMMA = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{][ \t\n\r]*+,|,(?=[ \t\n\r]*+[}\]])', re.DOTALL)
_DECODER = json.JSONDecoder()


def read(text: str, *, prose: bool = True) -> tuple[str, Any]:
    """Return the strict JSON text that an answer is, or surely means, and its value.

    1. As it is.
    2. Without a byte order mark, a leading block of thoughts, a code fence around it.
    3. Without commas before a closing bracket.
    4. With `prose`: the only object or array in it.

    Raises:
        NotJson: it is none; says what is wrong with the text as it is.
    """
    try:
        return text, loads(text, unique_keys=True)
    except NotJson as error:
        for meant in dict.fromkeys(_meant(text, prose)):
            try:
                return meant, loads(meant, unique_keys=True)
            except NotJson:
                continue
        raise error from None


def texts(output_format: OutputFormat, text: str) -> Iterator[str]:
    """Yield what the text of a choice, a regex or a grammar may mean, the text itself not among it."""
    if output_format.kind == "structural_tag":
        return
    meant = _unfenced(without_thought(text)[1].strip())
    yield meant
    yield (unquoted := _unquoted(meant))
    if output_format.kind == "choice":
        yield meant.removesuffix(".")
        yield _unquoted(meant.removesuffix("."))
        yield unquoted.removesuffix(".")


def without_opening(text: str) -> str:
    """Return what a text has come to behind its thoughts and the opening line of its code fence."""
    rest = without_thought(text)[1].lstrip()
    return _after_info(rest.removeprefix(_FENCE)) if rest.startswith(_FENCE) else rest


def _meant(text: str, prose: bool) -> Iterator[str]:
    rest = without_thought(text)[1]
    yield rest
    inside = _unfenced(rest)
    yield inside
    yield _without_trailing_commas(inside)
    if prose:
        yield from _only_container(rest)


def _unfenced(text: str) -> str:
    """Return the inside of the one code fence that a text is."""
    bare = text.strip()
    if not bare.startswith(_FENCE) or not bare.endswith(_FENCE) or len(bare) < 2 * len(_FENCE):
        return text
    inside = _after_info(bare[len(_FENCE) : -len(_FENCE)])
    return text if "\n" + _FENCE in inside else inside.strip()


def _after_info(text: str) -> str:
    info = _INFO.match(text) or _JSON_INFO.match(text)
    return text[info.end() :] if info else text


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] and text[0] in _QUOTES else text


def _without_trailing_commas(text: str) -> str:
    return _TRAILING_COMMA.sub(lambda match: "" if match[0] == "," else match[0], text)


def _only_container(text: str) -> Iterator[str]:
    """Yield the one object or array that stands in a text of words, where it is no part of something larger."""
    opener = _OPENER.search(text)
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
