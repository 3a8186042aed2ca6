"""Answers are kept, and what was stopped goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common.servers import NoAnswer
from benchmarks.structured.client import AnswerStore, answer_key, ask_all
from benchmarks.structured.reply import Reply
from tests.support.behaviours import CUT, raw, respond, stream
from tests.support.stream_events import DONE, delta, finished, first
from tests.support.upstream import Upstream

BODY = {"model": "m", "messages": []}


def test_a_line_that_was_not_finished_is_asked_again(tmp_path: Path) -> None:
    file = tmp_path / "out" / "answers.jsonl"
    first, second = Reply(200, {"model": "m"}, {"message": {"content": "a\u2028b"}}), Reply(502, error="bad")
    kept = AnswerStore(file)
    kept.add("a", first)
    kept.add("b", second)
    file.write_bytes(file.read_bytes()[:-5])
    again = AnswerStore(file)
    assert (again.get("a"), again.get("b")) == (first, None)
    again.add("b", second)
    assert AnswerStore(file).get("b") == second


def test_another_question_is_another_answer() -> None:
    assert answer_key("direct", "1", BODY) == answer_key("direct", "1", dict(reversed(BODY.items())))
    assert (
        len(
            {
                answer_key("direct", "1", BODY),
                answer_key("gateway", "1", BODY),
                answer_key("direct", "1", BODY | {"n": 1}),
            }
        )
        == 3
    )


async def test_an_answer_that_breaks_off_is_one_too(tmp_path: Path) -> None:
    with Upstream() as upstream:
        upstream.site("m").always(raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", CUT))
        root = upstream.url("m").removesuffix("/v1")
        replies = await ask_all(root, {"a": BODY}, AnswerStore(tmp_path / "x"), concurrency=2, say=print)
    assert replies["a"].error == "connection_lost"
    with pytest.raises(NoAnswer):
        await ask_all(root, {"b": BODY}, AnswerStore(tmp_path / "x"), concurrency=2, say=print)


async def test_a_stream_s_first_content_is_timed_and_its_end_has_the_rest(tmp_path: Path) -> None:
    summary = (
        b': smallfirst {"model": "large", "reason": "confidence", "cost_usd": "0.000000012", "saved_usd": null}\n\n'
    )
    known = {"x-request-id": "req_1", "x-smallfirst-reason": "cascade"}
    with Upstream() as upstream:
        upstream.site("m").always(stream(first(), delta("Pa"), delta("ris"), finished(), summary, DONE, headers=known))
        root = upstream.url("m").removesuffix("/v1")
        [reply] = (await ask_all(root, {"a": BODY}, AnswerStore(tmp_path / "x"), concurrency=1, say=print)).values()
        upstream.site("m").always(respond(500, {"error": {"message": "?", "code": "broken"}}))
        [failed] = (await ask_all(root, {"b": BODY}, AnswerStore(tmp_path / "x"), concurrency=1, say=print)).values()
    assert reply.choice is not None
    assert reply.choice["message"]["content"] == "Paris"
    assert reply.id == "req_1"
    assert reply.metadata == {"model": "large", "reason": "confidence", "cost-usd": "0.000000012"}
    assert reply.first_s is not None
    assert reply.seconds is not None
    assert 0 <= reply.first_s <= reply.seconds
    assert (failed.error, failed.first_s) == ("broken", None)
