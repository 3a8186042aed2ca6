"""Grammars for llama.cpp mean what the choices and the regular expressions mean."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.engine import guidance
from router.upstream.gbnf import MAX_DEPTH, MAX_RULES, choice_grammar, regex_grammar


def derives(grammar: str, text: str) -> bool:
    return guidance.match("grammar", grammar, text).status == "valid"


@pytest.mark.parametrize(
    ("pattern", "body"),
    [
        ("", '""'),
        ("abc", '"a" "b" "c"'),
        ("^[A-Z][a-z]+$", "[A-Z] [a-z]+"),
        (r"\d{3}-\d{4}", '[0-9]{3} "-" [0-9]{4}'),
        ("a{2}b{2,}c{0,5}", '"a"{2} "b"{2,} "c"{0,5}'),
        ("(yes|no)", '("y" "e" "s" | "n" "o")'),
        ("^(?:a|b)$", '("a" | "b")'),
        ("a|b$", '"a" | "b"'),
        ("(a|)b?", '("a" | "") "b"?'),
        (r"[-+]?\d+(\.\d+)?", r'[\x2D+]? [0-9]+ ("." [0-9]+)?'),
        (r"[\w.+-]+@x", r'[a-zA-Z0-9_.+\x2D]+ "@" "x"'),
        (r"\s*", r"[ \t\n\r]*"),
        (r"[^\]\\^]", r"[^\x5D\\\x5E]"),
        (r"\"\\\n", r'"\"" "\\" "\n"'),
        (".", r"[^\n]"),
        ("é\x00", r'"é" "\x00"'),
    ],
)
def test_a_regular_expression_as_a_grammar(pattern: str, body: str) -> None:
    assert regex_grammar(pattern) == f"root ::= {body}"


@pytest.mark.parametrize(
    "pattern",
    [
        "^a|b", "a^", "a$b", "(a$)", "(?=a)", "(?i)a", "(?P<n>a)", r"\ba", r"(a)\1", r"\p{L}", r"\x41", "a*?", "a++",
        "a**", "a{2}{3}", "a{3,2}", "a{,2}", "*a", "(a", "a)", "[a", "[]a]", "[]", "[z-a]", "[a-\\d]", "[[:alpha:]]",
        "[a&&b]", "[a--b]", r"[^\d]", "\\", "a{", "}", "]", f"a{{{MAX_RULES + 1}}}", "((a{20}){20}){20}",
        "(" * (MAX_DEPTH + 2) + "a" + ")" * (MAX_DEPTH + 2),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_not_translated(pattern: str) -> None:
    assert regex_grammar(pattern) is None


def test_the_choices_as_a_grammar() -> None:
    assert choice_grammar(["yes", 'no "é"\n']) == r'root ::= "yes" | "no \"é\"\n"'


CHARACTERS = st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\r\t")  # llguidance knows no \\x1F


@given(st.lists(st.text(CHARACTERS, min_size=1, max_size=20), min_size=1, max_size=4), st.text(CHARACTERS, max_size=20))
def test_the_grammar_derives_the_choices_and_nothing_else(choices: list[str], other: str) -> None:
    grammar = choice_grammar(choices)
    assert all(derives(grammar, choice) for choice in choices)
    assert derives(grammar, other) == (other in choices)


ATOMS = st.sampled_from(["a", "b", "é", r"\.", "-", '"', r"\\", "[a-c]", "[^ab]", r"[\d_]", r"\w", r"\s", "."])
PIECES = st.builds(str.__add__, ATOMS, st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}"]))
GROUPS = st.lists(PIECES, min_size=1, max_size=3).map("".join)
PATTERNS = st.lists(GROUPS, min_size=1, max_size=3).map(lambda groups: f"({'|'.join(groups)})") | GROUPS


@given(PATTERNS, st.data())
def test_the_grammar_derives_only_what_the_expression_matches(pattern: str, data: st.DataObject) -> None:
    grammar = regex_grammar(pattern)
    assert grammar is not None
    text = data.draw(st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True) | st.text("ab.-é_ 1", max_size=5))
    if derives(grammar, text):
        assert re.fullmatch(pattern, text)
    elif text.isascii() and not set(text) & {"\f", "\v", "\x1c", "\x1d", "\x1e", "\x1f"}:  # `\s` has fewer here
        assert not re.fullmatch(pattern, text)


@given(st.text("ab()[]{}|*+?^$\\.-1,:&~ \n\"'", max_size=12))
def test_any_text_becomes_a_grammar_that_compiles_or_none(pattern: str) -> None:
    grammar = regex_grammar(pattern)
    if grammar is not None:
        re.compile(pattern)
        assert guidance.grammar_fault("grammar", grammar) is None
