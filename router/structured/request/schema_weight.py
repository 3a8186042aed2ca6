"""May a schema be compiled and applied in the event loop? Only if neither can take more than a few milliseconds."""

from __future__ import annotations

import re
from typing import Any

from router.structured.complexity import evaluations, iter_patterns, refers_by_name

MAX_LIGHT_CHARS = 32 * 1024
MAX_LIGHT_NODES = 400
"""objects and arrays; each costs 10 us to count and to compile"""
MAX_LIGHT_EVALUATIONS = 1_000
MAX_LIGHT_SELF_REFERENCES = 20
"""references of the schema to itself; siblings take cubic time: 400 of them take 300 ms for any value"""
MAX_LIGHT_PATTERNS, MAX_LIGHT_PATTERN_CHARS = 20, 2_000
MAX_LIGHT_PATTERN_STATES = 1_000
"""estimated states of all patterns together; ten times as many take 4 ms to compile and up to 50 ms for 100 KB"""

# needs backtracking, 20 s for 100 KB of text: lookaround, `a++`, and escapes other than plain classes
_BACKTRACKING = re.compile(
    r"""
    \[(?:\\.|[^\]\\])*\]?
  | (?P<backtracks>  \(\?(?!:|<[A-Za-z_]) | [+*?}]\+ | \\(?![dDwWsSnrtfvxucpP0])[A-Za-z0-9] )
  | \\.
    """,
    re.VERBOSE | re.DOTALL,
)
# an unclosed class extends to the end of the pattern, so that no text is searched twice
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
    """Return whether a schema is cheap to compile and apply. The limits were measured on real and hostile schemas.

    A reference by name (`$anchor`, `$id`) makes a schema heavy, because its target must be searched for.

    Args:
        text: the schema as JSON.
        schema: the same, parsed.
    """
    if len(text) > MAX_LIGHT_CHARS or text.count("{") + text.count("[") > MAX_LIGHT_NODES:
        return False
    return (
        text.count('"#"') <= MAX_LIGHT_SELF_REFERENCES
        and _are_light(list(iter_patterns(schema)))
        and not refers_by_name(schema)
        and evaluations(schema, MAX_LIGHT_EVALUATIONS) <= MAX_LIGHT_EVALUATIONS
    )


def _are_light(expressions: list[str]) -> bool:
    return (
        len(expressions) <= MAX_LIGHT_PATTERNS
        and sum(map(len, expressions)) <= MAX_LIGHT_PATTERN_CHARS
        and not any(map(_needs_backtracking, expressions))
        and sum(map(estimate_states, expressions)) <= MAX_LIGHT_PATTERN_STATES
    )


def _needs_backtracking(pattern: str) -> bool:
    return any(token["backtracks"] for token in _BACKTRACKING.finditer(pattern))


def estimate_states(pattern: str) -> int:
    """Return roughly how many states a regular expression has, with counted repetitions expanded."""
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
                last = _class_states(token[0])
                groups[-1] += last
            case _:
                last = 1
                groups[-1] += last
    return sum(groups)


def _class_states(character_class: str) -> int:
    """Return how many states one character of a class needs: it may have many UTF-8 encodings."""
    if _UNICODE_CLASS.search(character_class):
        return 500
    return 10 if _COMPLEMENT.search(character_class) else 1
