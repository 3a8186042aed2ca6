"""What vLLM 0.32 does wrong for a family. Each is an expected failure; what passes nevertheless fails the tests."""

from __future__ import annotations

from collections.abc import Mapping

REQUIRED_IS_LOST = (
    "a streamed call that is required is lost: vLLM gives this parser's streams to code that expects all of the text so"
    " far, and gets only the last piece"
)
REQUIRED_IS_FREE = "vLLM does not constrain required calls for the parser gemma4"
NO_TOKEN_ENDS_THOUGHTS = (
    "after thoughts, decoding enforces a format only if the tokenizer has a token for </think>, which is not known of"
    " this family's"
)

TEXT_TAGS = ("nemotron-h-8b-reasoning", "nemotron-nano-9b-v2", "phi-4-mini-reasoning")
FAULTS: Mapping[str, str] = {
    **{
        f"test_required_call[{family}-stream]": REQUIRED_IS_LOST
        for family in ("nemotron-3-nano-4b", "qwen3.5-0.8b", "qwen3.5-4b")
    },
    **{f"test_required_call[gemma-4-e2b-{how}]": REQUIRED_IS_FREE for how in ("whole", "stream")},
    **{
        f"test_json_schema_after_thoughts[{family}-{how}]": NO_TOKEN_ENDS_THOUGHTS
        for family in TEXT_TAGS
        for how in ("whole", "stream")
    },
    **{f"test_json_schema[phi-4-mini-reasoning-{how}]": NO_TOKEN_ENDS_THOUGHTS for how in ("whole", "stream")},
}
"""what is wrong, by test"""
