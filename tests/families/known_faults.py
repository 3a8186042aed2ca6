"""Where vLLM 0.32's own parsers are wrong. Each is an expected failure; one that passes fails the tests."""

from __future__ import annotations

from collections.abc import Mapping

from tests.families.entries import Family
from tests.families.parser_cases import Case

XLAM_TWICE = "xlam streams arguments that come in pieces of several characters twice, or opens them twice"
XLAM_NAMES = "xlam takes every `name` in a streamed call's arguments for a further call"

STREAM_FAULTS: Mapping[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("xlam", "call"): (XLAM_TWICE, ("3 chars", "7 chars", "1 token", "5 tokens")),
    ("xlam", "two calls"): (XLAM_TWICE, ("3 chars", "7 chars", "1 token", "5 tokens")),
    ("xlam", "awkward texts"): (XLAM_TWICE, ("3 chars", "7 chars", "1 token", "5 tokens")),
    ("xlam", "no arguments"): (XLAM_TWICE, ("7 chars", "1 token", "5 tokens")),
    ("xlam", "nested"): (XLAM_NAMES, ("1 char", "3 chars", "7 chars", "1 token", "5 tokens")),
}
"""by tool parser and case: what is wrong, and in which pieces"""


def fault_of(family: Family, case: Case, pieces: str) -> str | None:
    """Return what vLLM's parser does wrong there, or None."""
    fault, wrong = STREAM_FAULTS.get((family.tool_parser or "", case.name), ("", ()))
    return fault if pieces in wrong else None
