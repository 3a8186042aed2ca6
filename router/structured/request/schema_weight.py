"""May a schema be compiled and applied in the event loop? Only where neither can take more than a few milliseconds."""

from __future__ import annotations

import re
from typing import Any

from router.structured.complexity import evaluations, patterns, refers_by_name

LIGHT_CHARS = 32 * 1024
LIGHT_NODES = 400
"""objects and arrays; each costs 10 us to count and to compile"""
LIGHT_EVALUATIONS = 1_000
LIGHT_SELVES = 20
"""references of the schema to itself; beside each other, they take cubic time: 400 take 300 ms for any value"""
LIGHT_PATTERNS, LIGHT_PATTERN_CHARS = 20, 2_000
LIGHT_PATTERN_SIZE = 1_000
"""states of all patterns together, roughly; ten times that compiles for 4 ms, and may judge 100 KB for 50 ms"""

# searched with steps back, 20 s for 100 KB of text: what looks around, `a++`, and escapes other than of plain classes
_STEPS_BACK = re.compile(
    r"""
    \[(?:\\.|[^\]\\])*\]?
  | (?P<back>  \(\?(?!:|<[A-Za-z_]) | [+*?}]\+ | \\(?![dDwWsSnrtfvxucpP0])[A-Za-z0-9] )
  | \\.
    """,
    re.VERBOSE | re.DOTALL,
)
# what is never closed is taken to its end: no text is searched twice
_TOKEN = re.compile(
    r"""
    (?P<class>  \[(?:\\.|[^\]\\])*\]? | \\[pP]\{[^}]*\}? | \\. | \. )
  | (?P<opened> \((?:\?(?::|<\w+>))? )
  | (?P<closed> \) )
  | (?P<times>  \{(?P<least>\d{1,9})(?:,(?P<most>\d{0,9}))?\} )
  | .
    """,
    re.VERBOSE | re.DOTALL,
)
_UNICODE_CLASS = re.compile(r"\\[pP]")
_COMPLEMENT = re.compile(r"^\[\^|^\.|\\[SWD]")


def is_light(text: str, schema: Any) -> bool:
    """Return whether a schema, of which `text` is the JSON, costs next to nothing; measured on real and hostile ones.

    A reference by name (`$anchor`, `$id`) makes it heavy: which of all the named ones it means takes a search.
    """
    if len(text) > LIGHT_CHARS or text.count("{") + text.count("[") > LIGHT_NODES:
        return False
    return (
        text.count('"#"') <= LIGHT_SELVES
        and _are_light(list(patterns(schema)))
        and not refers_by_name(schema)
        and evaluations(schema, LIGHT_EVALUATIONS) <= LIGHT_EVALUATIONS
    )


def _are_light(expressions: list[str]) -> bool:
    return (
        len(expressions) <= LIGHT_PATTERNS
        and sum(map(len, expressions)) <= LIGHT_PATTERN_CHARS
        and not any(map(_steps_back, expressions))
        and sum(map(pattern_size, expressions)) <= LIGHT_PATTERN_SIZE
    )


def _steps_back(pattern: str) -> bool:
    return any(token["back"] for token in _STEPS_BACK.finditer(pattern))


def pattern_size(pattern: str) -> int:
    """Return roughly how many states a regular expression has, its counted repetitions written out."""
    groups, last = [0], 0
    for token in _TOKEN.finditer(pattern):
        match token.lastgroup:
            case "opened":
                groups.append(0)
            case "closed" if len(groups) > 1:
                last = groups.pop()
                groups[-1] += last
            case "times":
                repeated = last * (int(token["most"] or token["least"]) - 1)
                groups[-1] += repeated
                last += repeated
            case "class":
                last = _states(token[0])
                groups[-1] += last
            case _:
                last = 1
                groups[-1] += last
    return sum(groups)


def _states(character_class: str) -> int:
    """Return how many states one character of a class takes: its UTF-8 may have many forms."""
    if _UNICODE_CLASS.search(character_class):
        return 500
    return 10 if _COMPLEMENT.search(character_class) else 1
