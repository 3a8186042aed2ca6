"""Regular expressions as other languages write them, made into the strict ECMA-262 of JSON Schema. Pure."""

from __future__ import annotations

import re

# what is not closed extends to the end of the pattern, so that no text is searched twice
_TOKEN = re.compile(
    r"""
    (?P<start> \\A ) | (?P<end> \\[zZ] ) | (?P<named> \(\?P< )
  | \\[pPux]\{[^}]*\}? | \\.
  | (?P<class> \[\^?\]?(?:\\.|[^\]\\])*\]? )
  | \{,(?P<most>\d+)\} | \{\d+(?:,\d*)?\}
  | (?P<lone> [\]{}] )
    """,
    re.VERBOSE | re.DOTALL,
)
_FIRST_BRACKET = re.compile(r"^(\[\^?)\]")
# a dash beside a class such as `\w` cannot be a range
_LONE_DASH = re.compile(r"(\\[dDwWsS])-(?!\]$)|(?<=[^\[^\\])-(?=\\[dDwWsS])")


def as_ecma(pattern: str) -> str:
    """Return a pattern with the same meaning that strict engines accept. Most patterns are returned unchanged.

    - A lone `]`, `{` or `}` is escaped, and so is a dash beside `\\w` in a class.
    - Python's `\\A` and `\\Z` become `^` and `$`, `{,3}` becomes `{0,3}`, and `(?P<name>` becomes `(?<name>`.
    """
    return _TOKEN.sub(_strict, pattern)


def _strict(token: re.Match[str]) -> str:
    text = token[0]
    match token.lastgroup:
        case "start":
            return "^"
        case "end":
            return "$"
        case "named":
            return "(?<"
        case "most":
            return f"{{0,{token['most']}}}"
        case "lone":
            return f"\\{text}"
        case "class":
            return _LONE_DASH.sub(lambda dash: f"{dash[1] or ''}\\-", _FIRST_BRACKET.sub(r"\1\\]", text))
        case _:
            return text
