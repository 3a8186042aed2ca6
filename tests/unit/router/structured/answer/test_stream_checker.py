"""What of a constrained stream may leave before its verdict."""

from __future__ import annotations

import pytest

from router.errors import StructuredOutputViolation
from router.structured.answer.stream_checker import StreamChecker
from router.structured.constraint import CallConstraint, Constraint, OutputFormat, Tool

JSON = Constraint(OutputFormat("json_object", "response_format"))
CHOICE = Constraint(OutputFormat("choice", "guided_choice", choices=("a", "b")))
TALK = Constraint(calls=CallConstraint({"f": Tool("f")}))
MUST = Constraint(calls=CallConstraint({"f": Tool("f")}, required=True))
ROLE = {"role": "assistant", "content": ""}


def following(constraint, pace):
    return StreamChecker(constraint, pace, lambda kind, fault, *_: StructuredOutputViolation(f"no {kind}: {fault}"))


def chunk(delta=None, finish=None, index=0):
    return {"choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}]}


def call(arguments, number=0, name=None):
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"tool_calls": [{"index": number, "function": function} | ({"id": "c"} if name else {})]}


def left(constraint, pace, *deltas, finish="stop"):
    """Which of the events go on at once, each with those that waited before it."""
    checker = following(constraint, pace)
    return [checker.feed(chunk(delta)) for delta in deltas] + [checker.feed(chunk(finish=finish))]


def test_held_nothing_leaves():
    assert left(JSON, "hold", ROLE, {"content": '{"a"'}, {"content": ": 1}"}) == [False] * 4


def test_checked_all_leaves_but_the_end():
    assert left(JSON, "check", ROLE, {"content": '{"a"'}, {"content": ": 1}"}) == [True] * 3 + [False]
    assert left(CHOICE, "check", ROLE, {"content": "a"}) == [True, True, False]
    assert left(MUST, "check", ROLE, call("", name="f"), call("{}"), finish="tool_calls") == [True] * 3 + [False]


def test_what_comes_after_the_end_waits_with_it():
    checker = following(JSON, "check")
    checker.feed(chunk(finish="stop"))
    assert not checker.feed({"choices": [], "usage": {"prompt_tokens": 1}})


def test_thoughts_are_not_checked():
    assert left(JSON, "check", {"reasoning_content": "hm {"}, {"content": "{}"}) == [True, True, False]


@pytest.mark.parametrize("wrong", ['"a": 1', '{"a": NaN', '{"a": 1, "a"', "{}{", '{"a": "\n'])
def test_what_cannot_become_valid_any_more_ends_the_stream(wrong):
    checker = following(JSON, "check")
    assert checker.feed(chunk({"content": "{"}))
    with pytest.raises(StructuredOutputViolation, match="json_object"):
        checker.feed(chunk({"content": wrong + "!"}))


def test_wrong_arguments_end_it_too():
    checker = following(MUST, "check")
    assert checker.feed(chunk(call("{", name="f")))
    with pytest.raises(StructuredOutputViolation):
        checker.feed(chunk(call("'a'")))


def test_a_call_under_the_number_of_another_one_waits_for_the_whole():
    checker = following(MUST, "check")
    assert checker.feed(chunk(call('{"a": 1}', name="f")))
    second = call('{"a": 2}', name="f")
    second["tool_calls"][0]["id"] = "d"
    assert not checker.feed(chunk(second))
    assert [len(choice["message"]["tool_calls"]) for choice in (*checker.sent, *checker.choices())] == [1, 2]


def test_while_nothing_has_left_it_is_held_instead_for_it_may_be_repaired():
    assert left(JSON, "check", ROLE, {"content": "```json\n"}, {"content": "{}\n```"}) == [True, False, False, False]


def test_a_text_where_calls_may_be_made_leaves_at_once_and_so_does_its_end():
    assert left(TALK, "talk", ROLE, {"content": "Paris "}, {"content": "{is} nice."}) == [True] * 4


def test_a_text_that_looks_like_a_call_waits():
    assert left(TALK, "talk", ROLE, {"content": '{"na'}, {"content": 'me": "f",'}) == [True, False, False, False]


def test_where_a_call_is_required_the_text_waits():
    content = [{"content": "<tool_call>"}, {"content": "{}"}]
    assert left(MUST, "check", ROLE, *content) == [True, False, False, False]
    assert left(MUST, "check", call("{}", name="f"), {"content": "So."}, finish="tool_calls") == [True, True, False]


def test_it_leaves_once_it_is_no_call():
    assert left(TALK, "talk", {"content": "```"}, {"content": "python\n"}, {"content": "x"}) == [
        False,
        True,
        True,
        True,
    ]


def test_calls_wait_after_a_text_that_has_left():
    checker = following(TALK, "talk")
    assert checker.feed(chunk({"content": "Let me see."}))
    assert not checker.feed(chunk(call("{}", name="f")))
    assert not checker.feed(chunk({"content": "more"}))
    (gone,) = checker.sent
    assert gone["message"]["content"] == "Let me see."
    assert "tool_calls" not in gone["message"]
    assert checker.choices()[0]["message"]["content"] == "Let me see.more"


def test_a_role_alone_is_no_beginning():
    checker = following(JSON, "check")
    checker.feed(chunk(ROLE))
    assert not checker.has_begun
    checker.feed(chunk({"content": "{"}))
    assert checker.has_begun


@pytest.mark.parametrize("pace", ["hold", "check"])
@pytest.mark.parametrize("endless", [" ", "\n\t", "ab" * 40])
def test_an_answer_without_an_end_is_stopped(pace, endless):
    checker = following(JSON, pace)
    checker.feed(chunk({"content": '{"a": ' + ('"' if endless[0] == "a" else "")}))
    with pytest.raises(StructuredOutputViolation, match="does not end"):
        list(map(checker.feed, [chunk({"content": endless})] * 10_000))


def test_each_choice_is_followed_on_its_own():
    checker = following(JSON, "check")
    assert checker.feed(chunk({"content": "{"}, index=0))
    assert checker.feed(chunk({"content": "{"}, index=1))
    assert checker.feed(chunk({"content": "}"}, index=1))
    assert not checker.feed(chunk(finish="stop", index=1))
    assert not checker.feed(chunk({"content": "}"}, index=0))


def test_calls_without_a_number_wait_for_only_the_whole_tells_them_apart():
    checker = following(MUST, "check")
    for id_ in "ab":
        function = {"name": "f", "arguments": "{}"}
        assert not checker.feed(chunk({"tool_calls": [{"id": id_, "function": function}]}))
    assert len(checker.choices()[0]["message"]["tool_calls"]) == 2


def test_the_error_is_of_what_was_being_said():
    seen = []

    def broken(*args):
        seen.append(args)
        return StructuredOutputViolation("")

    checker = StreamChecker(MUST, "hold", broken)
    checker.feed(chunk(call('{"a":', name="f")))
    with pytest.raises(StructuredOutputViolation):
        checker.feed(chunk(call(" " * 300)))
    kind, fault, choice, is_endless = seen[0]
    assert (kind, fault, is_endless) == ("tools", "the output does not end: endless whitespace", True)
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"a":'


def test_a_delta_that_is_none_says_nothing():
    checker = following(JSON, "check")
    checker.feed({"choices": [{"index": 0, "text": "", "delta": "x"}]})
    assert not checker.has_begun


@pytest.mark.parametrize(("after", "leaves"), [("Paris.", True), ('{"name": "f"', False)])
def test_what_follows_thoughts_decides(after, leaves):
    checker = following(TALK, "talk")
    for piece in ["<thi", "nk>", *["hm " * 50] * 9, "</th", "ink>\n"]:
        assert not checker.feed(chunk({"content": piece}))
    assert checker.feed(chunk({"content": after})) == leaves


def test_a_completion_is_text():
    checker = following(JSON, "check")
    assert checker.feed({"choices": [{"index": 0, "text": "{", "finish_reason": None}]})
    assert not checker.feed({"choices": [{"index": 0, "text": "}", "finish_reason": "stop"}]})
    assert checker.choices() == [{"index": 0, "text": "{}", "finish_reason": "stop"}]
