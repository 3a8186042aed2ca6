"""From tokens to text: nothing is lost, and nothing is sent too early."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.engine.transformers_server.text import INCOMPLETE, MAX_HELD_TOKENS, Detokenizer, StopStrings


def decode_bytes(tokens: list[int]) -> str:
    return bytes(tokens).decode(errors="replace")


def decode_words(tokens: list[int]) -> str:
    """As some tokenizers do: a word brings the space before it, except at the beginning."""
    return " ".join(f"w{token}" for token in tokens)


@given(st.text())
def test_the_pieces_make_the_text_and_no_character_is_cut(text: str) -> None:
    subject = Detokenizer(decode_bytes)
    pieces = [subject.push(byte) for byte in text.encode()]
    assert "".join(pieces) + subject.flush() == text
    assert INCOMPLETE in text or all(INCOMPLETE not in piece for piece in pieces)


@given(st.lists(st.integers(0, 9)))
def test_a_token_that_depends_on_those_before_it(tokens: list[int]) -> None:
    subject = Detokenizer(decode_words)
    assert "".join(map(subject.push, tokens)) + subject.flush() == decode_words(tokens)


@given(st.binary())
def test_bytes_that_are_no_text_are_sent_too(noise: bytes) -> None:
    subject = Detokenizer(decode_bytes)
    pieces = [subject.push(byte) for byte in noise]
    rest = subject.flush()
    assert bool("".join(pieces) + rest) == bool(noise)
    held = 0
    for piece in pieces:
        held = 0 if piece else held + 1
        assert held < MAX_HELD_TOKENS


@given(st.text(alphabet="abc", max_size=30), st.lists(st.text(alphabet="abc", min_size=1, max_size=4)), st.data())
def test_the_text_ends_before_the_first_stop_string(text: str, stops: list[str], data: st.DataObject) -> None:
    subject = StopStrings(stops)
    sent, at = "", 0
    while at < len(text) and not subject.found:
        size = data.draw(st.integers(1, 5))
        sent += subject.push(text[at : at + size])
        at += size
    ends = [found for stop in stops if (found := text.find(stop)) >= 0]
    if ends and subject.found:
        assert sent == text[: len(sent)]
        assert not any(stop in sent for stop in stops)
    else:
        assert not ends
        assert sent + subject.flush() == text


def test_what_may_be_the_beginning_of_a_stop_string_is_held_back() -> None:
    subject = StopStrings(["END"])
    assert subject.push("the EN") == "the "
    assert subject.push("T of E") == "ENT of "
    assert subject.push("ND and more") == ""
    assert subject.found
    assert subject.flush() == ""
