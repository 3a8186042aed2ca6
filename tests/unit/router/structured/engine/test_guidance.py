"""What llguidance enforces and matches, in real worker processes; xgrammar on the same formats."""

import pytest

from router.structured.workers.grammar_workers import (
    GrammarSupport,
    Match,
)
from tests.support.grammars import TAG


@pytest.mark.parametrize(
    ("kind", "source", "guidance", "xgrammar"),
    [
        ("json_schema", '{"type":"object","properties":{"a":{"type":"integer"}}}', "whole", "whole"),
        ("json_schema", '{"type":"string","maxLength":3}', "whole", "partial"),
        ("json_schema", '{"type":"string","format":"date"}', "partial", "partial"),
        ("json_schema", '{"type":"array","contains":{"const":1}}', "partial", "none"),
        ("json_schema", '{"not":{"type":"null"}}', "partial", "partial"),
        ("json_schema", '{"x-guidance":{"lenient":true},"not":{"type":"null"}}', "partial", "partial"),
        ("json_schema", '{"type":"integer","minimum":5,"maximum":3}', "none", "none"),
        ("json_object", "", "whole", "whole"),
        ("regex", "[a-f]{2,8}", "whole", "whole"),
        ("regex", "a(?=b)", "none", "none"),
        ("choice", '["yes","no \\"é\\"\\n"]', "whole", "whole"),
        ("grammar", 'root ::= "a" root | "b"', "whole", "whole"),
        ("grammar", 'start: "a"+ "b"', "whole", "whole"),
        ("grammar", 'root ::= "a" other', "none", "none"),
        ("structural_tag", TAG, "partial", "none"),
        ("structural_tag", TAG.replace('["<call"]', '["<call>"]'), "none", "none"),
    ],
)  # fmt: skip
async def test_how_much_of_a_format_decoding_enforces(workers, kind, source, guidance, xgrammar):
    found = [(await workers.grammar_support(backend, kind, source)).enforcement for backend in ("guidance", "xgrammar")]
    assert found == [guidance, xgrammar]


async def test_partial_and_none_say_why(workers):
    assert await workers.grammar_support("guidance", "json_schema", '{"not":{}}') == GrammarSupport(
        "partial", 'Unimplemented keys: ["not"]', lenient=True
    )
    assert await workers.grammar_support("xgrammar", "json_schema", '{"not":{}}') == GrammarSupport(
        "partial", "not is not enforced"
    )


@pytest.mark.parametrize(
    ("kind", "source", "text", "word"),
    [
        ("regex", "[a-z]+é?", "abcé", "valid"),
        ("regex", "[a-z]+é?", "", "incomplete"),
        ("regex", "[a-z]+é?", "abcéd", "invalid"),
        ("regex", "(a|b)+", "ab\n", "invalid"),
        ("regex", "😀{2}", "😀", "incomplete"),
        ("regex", "(.|\n)*", "\ud800", "invalid"),
        ("grammar", 'root ::= "(" root ")" | "x"', "((x))", "valid"),
        ("grammar", 'root ::= "(" root ")" | "x"', "((x)", "incomplete"),
        ("grammar", 'start: "a"+ "b"', "aaba", "invalid"),
        ("choice", '["yes","yes, sir",""]', "yes", "valid"),
        ("choice", '["yes","yes, sir",""]', "", "valid"),
        ("choice", '["yes","yes, sir",""]', "yes,", "incomplete"),
        ("structural_tag", TAG, "no call", "valid"),
        ("structural_tag", TAG, "Well: <call>3</call>.", "valid"),
        ("structural_tag", TAG, "Well: <call>3", "incomplete"),
        ("structural_tag", TAG, 'Well: <call>"3"</call>.', "invalid"),
    ],
)
async def test_a_text_against_a_grammar(workers, kind, source, text, word):
    assert await workers.grammar_fault(kind, source) is None
    assert (await workers.match(kind, source, text)).status == word


async def test_what_does_not_match_is_reported_in_characters(workers):
    assert await workers.match("regex", "é*", "ééx") == Match(
        "invalid", "it does not match the regex after 2 characters"
    )


async def test_long_texts_match(workers):
    assert await workers.match("regex", "(é|x)*", "é" * 100_000) == Match("valid")
    assert (await workers.match("grammar", 'root ::= "(" root ")" | "x"', "(" * 50_000 + "x")).status == "incomplete"


@pytest.mark.parametrize(
    ("kind", "source", "part"),
    [
        ("regex", "(", "unclosed group"),
        ("regex", r"(a)\1", "backreferences"),
        ("grammar", "no grammar at all", "GBNF"),
        ("grammar", 'start: "a" missing', "missing"),
        ("structural_tag", "[]", "expected an object"),
        ("structural_tag", "{", "Expecting property name"),
        ("structural_tag", '{"structures": [], "triggers": []}', "empty"),
        ("structural_tag", TAG.replace('["<call"]', '["<tool"]'), "no trigger begins '<call>'"),
        ("structural_tag", TAG.replace('"integer"', '"nonsense"'), "nonsense"),
    ],
)
async def test_what_is_no_grammar(workers, kind, source, part):
    assert part in await workers.grammar_fault(kind, source)
