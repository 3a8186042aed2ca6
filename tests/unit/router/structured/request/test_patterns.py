"""Regular expressions of other languages, in the strict ECMA-262 that validators read."""

from time import process_time

import jsonschema_rs
import pytest

from router.structured.request.patterns import as_ecma

DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize(
    ("written", "strict"),
    [
        ("^a]$", r"^a\]$"),
        ("^a}$", r"^a\}$"),
        ("^a{$", r"^a\{$"),
        (r"^[\w-.]+$", r"^[\w\-.]+$"),
        (r"[.\w-_]", r"[.\w\-_]"),
        (r"[a-\d]", r"[a\-\d]"),
        ("[]a]", r"[\]a]"),
        ("[^]a]", r"[^\]a]"),
        (r"\A\d+\Z", r"^\d+$"),
        ("a{,3}", "a{0,3}"),
        ("(?P<year>[0-9]{4})", "(?<year>[0-9]{4})"),
    ],
)
def test_what_validators_refuse_is_made_strict(written, strict):
    assert as_ecma(written) == strict
    assert as_ecma(strict) == strict
    for draft in ({}, {"$schema": DRAFT_7}):
        jsonschema_rs.validator_for({"pattern": strict, **draft}, validate_formats=True)


@pytest.mark.parametrize(
    "pattern",
    [
        "", r"^[a-z\-_]{2,3}$", r"[\w.-]", r"[\w-]", r"\p{L}+", r"\u{1F600}", r"^\{x\}$", "[{}]", "(?i)a|b", "(?<=a)b",
        r"a{2}b{2,}", "(", "[", "\\", r"\[a\]", r"[\]]", "[[]",
    ],
)  # fmt: skip
def test_what_is_strict_stays(pattern):
    assert as_ecma(pattern) == pattern


@pytest.mark.parametrize("part", ["[", "[a", r"\p{", "{", "[-", r"[\w-", "\\"])
def test_a_hostile_pattern_takes_no_time(part):
    started = process_time()
    as_ecma(part * 40_000)
    assert process_time() - started < 5, "quadratic time would be minutes"
