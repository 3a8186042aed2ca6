"""What the tests of the families saw, as docs/families.json has it: which entry of the catalogue answered what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from router.catalogue.bundled import catalogue
from router.catalogue.entry import CatalogueEntry

MODULE = "tests/families/test_families.py::"
TESTS = {
    "chat": ("test_chat", "test_long_prompts", "test_long_prompts_with_a_seed_at_once"),
    "stream": ("test_stream",),
    "json_schema": ("test_json_schema",),
    "tool_call": ("test_calls_in_the_family_s_format",),
    "reasoning": ("test_thoughts",),
}
"""the tests that must have passed, by what a family answered"""
VARIANTS = ("-whole", "-stream")


class Outcome(NamedTuple):
    """How a test ended."""

    name: str
    word: str
    seconds: float
    reason: str = ""
    """why a failure is expected"""


def family_results(outcomes: Iterable[Outcome], engine: str, date: str) -> dict[str, Any]:
    """Return docs/families.json: each entry's own results, or those of the entry that was tested in its place."""
    by_family = _by_family(outcomes)
    found: dict[str, Any] = {}
    for entry in catalogue().values():
        tested = next((other for other in _alike(entry) if other in by_family), None)
        if tested is None or not (answers := _answers(by_family[tested])):
            continue
        faults = sorted({outcome.reason for _, outcome in by_family[tested] if outcome.reason})
        found[entry.name] = {"answers": answers, "engine": engine, "date": date} | (
            {"faults": faults} if faults else {}
        )
    return found


def alike(one: CatalogueEntry, other: CatalogueEntry) -> bool:
    """Return whether a test of one entry says as much of the other: same class, layers, parsers and options."""
    return _kind(one) == _kind(other)


def _alike(entry: CatalogueEntry) -> list[str]:
    return [entry.name, *(other.name for other in catalogue().values() if alike(entry, other))]


def _kind(entry: CatalogueEntry) -> tuple[Any, ...]:
    return (
        *(entry.engine, entry.architecture, entry.state is None),
        *(entry.tools, entry.tool_parser, entry.thinking, entry.reasoning_parser),
        *(entry.chat_template, entry.vllm_args),
    )


def _by_family(outcomes: Iterable[Outcome]) -> Mapping[str, list[tuple[str, Outcome]]]:
    """Return each family's tests and how they ended."""
    found: dict[str, list[tuple[str, Outcome]]] = {}
    for outcome in outcomes:
        test, _, family = outcome.name.removeprefix(MODULE).partition("[")
        if outcome.name.startswith(MODULE):
            family = family.removesuffix("]")
            for variant in VARIANTS:
                family = family.removesuffix(variant)
            found.setdefault(family, []).append((test, outcome))
    return found


def _answers(outcomes: Iterable[tuple[str, Outcome]]) -> list[str]:
    words: dict[str, set[str]] = {}
    for test, outcome in outcomes:
        words.setdefault(test, set()).add(outcome.word)
    return [answer for answer, tests in TESTS.items() if all(words.get(test) == {"passed"} for test in tests)]
