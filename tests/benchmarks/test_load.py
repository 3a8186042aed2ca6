"""benchmarks/common/load.py: what it says of an answer, against a server that answers from a script."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

import pytest
import uvloop

from benchmarks.common import load

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
WORD = b'data: {"choices":[{"index":0,"delta":{"content":" Paris"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def on_uvloop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on the loop that the client is made for."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        uvloop.run(test(**fixtures))

    return run


Step = bytes | float | Callable[["Server"], bool]
"""bytes are written, empty bytes end the connection, a number is a pause in seconds, a condition is waited for"""
POLL_S = 0.001


class Server:
    def __init__(self, answers: Sequence[Sequence[Step]]) -> None:
        self.answers = answers
        self.bodies: list[bytes] = []
        self.heads: list[bytes] = []
        self.tasks: set[asyncio.Task[None] | None] = set()
        self.connections = self.at_work = self.most_at_work = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                number = len(self.bodies)
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(length))
                self.at_work += 1
                self.most_at_work = max(self.most_at_work, self.at_work)
                for step in self.answers[number % len(self.answers)]:
                    if isinstance(step, float):
                        await asyncio.sleep(step)
                    elif callable(step):
                        while not step(self):  # noqa: ASYNC110 - the client changes it, and sets no event
                            await asyncio.sleep(POLL_S)
                    elif step == b"":
                        raise ConnectionError
                    else:
                        writer.write(step)
                        await writer.drain()
                self.at_work -= 1
        writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"


@contextlib.asynccontextmanager
async def serving(*answers: Sequence[Step]) -> AsyncIterator[Server]:
    server = Server(answers)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await asyncio.sleep(0.01)  # the clients' closing reaches the handlers
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*events: bytes) -> list[bytes]:
    return [HEAD, *(chunk(event) for event in events), b"0\r\n\r\n"]


async def ask(*answer: Step, **options) -> load.Answer:
    async with serving(answer) as server:
        [found] = await load.run(load.Endpoint(server.url), [b"{}"], requests=1, concurrency=1, **options)
    return found


@on_uvloop
async def test_a_whole_answer_is_timed_and_kept():
    began = perf_counter()
    answer = await ask(0.05, WHOLE)
    assert (answer.status, answer.error, answer.body, answer.events, answer.first) == (200, "", b"{}", 0, None)
    assert answer.ended - answer.started > 0.045
    assert began <= answer.started < answer.ended <= perf_counter()


@on_uvloop
async def test_of_a_stream_the_first_content_counts_not_the_role(monkeypatch):
    read: list[float] = []

    def clock() -> float:
        read.append(perf_counter())
        return read[-1]

    def first_is_timed(server: Server) -> bool:
        return len(read) == 2

    monkeypatch.setattr(load, "perf_counter", clock)
    # the second word is only sent after the client has timed the first
    answer = await ask(HEAD, chunk(ROLE), chunk(WORD), first_is_timed, chunk(WORD), chunk(DONE), b"0\r\n\r\n")
    assert (answer.error, answer.events, answer.body) == ("", 2, b"")
    assert [answer.started, answer.first, answer.ended] == read


@on_uvloop
async def test_a_stream_with_only_a_role_has_no_first_content():
    answer = await ask(*stream(ROLE, DONE))
    assert (answer.error, answer.events, answer.first) == ("", 0, None)


@on_uvloop
async def test_keep_keeps_a_streams_bytes():
    assert (await ask(*stream(ROLE, WORD, DONE), keep=True)).body == ROLE + WORD + DONE


@pytest.mark.parametrize("size", [1, 7, 64])
@on_uvloop
async def test_events_may_be_cut_anywhere_and_end_with_crlf(size):
    data = (ROLE + WORD + WORD + DONE).replace(b"\n", b"\r\n")
    answer = await ask(*stream(*(data[start : start + size] for start in range(0, len(data), size))))
    assert (answer.error, answer.events) == ("", 2)


@on_uvloop
async def test_a_quoted_key_within_a_text_is_no_content():
    event = b'data: {"choices":[{"delta":{"content":""},"note":"\\"content\\":\\"x"}]}\n\n'
    assert (await ask(*stream(event, DONE))).events == 0


@on_uvloop
async def test_completions_have_text():
    assert (await ask(*stream(b'data: {"choices":[{"text":" Paris"}]}\n\n', DONE))).events == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy"], "status 503: b'busy'"),
        (stream(WORD), "a stream without [DONE]"),
        (stream(WORD, b'data: {"error":{"message":"no"}}\n\n', DONE), "an event with an error"),
        ([HEAD, chunk(WORD), b""], "the connection ended before the answer did"),
        ([b""], "the connection ended before the answer did"),
        ([b"SMTP ready\r\n"], "not HTTP"),
    ],
)
@on_uvloop
async def test_a_failure_is_an_answer_with_an_error(answer, error):
    assert (await ask(*answer)).error.startswith(error)


@on_uvloop
async def test_what_takes_too_long_is_an_error_and_the_run_goes_on():
    async with serving([3600.0], [WHOLE]) as server:
        slow, fine = await load.run(load.Endpoint(server.url), [b"{}"], requests=2, concurrency=1, timeout_s=3)
    assert slow.error == "no whole answer within 3 s"
    assert fine.error == ""


@on_uvloop
async def test_nobody_there_is_an_error_of_each_request():
    async with serving([WHOLE]) as server:
        url = server.url
    answers = await load.run(load.Endpoint(url), [b"{}"], requests=3, concurrency=2)
    assert [answer.error[:13] for answer in answers] == ["no connection"] * 3


@on_uvloop
async def test_connections_are_kept_and_bodies_take_turns():
    async with serving([lambda server: server.most_at_work == 3, WHOLE]) as server:
        answers = await load.run(
            load.Endpoint(server.url, {"x-a": "b"}), [b'{"a":1}', b"{}"], requests=12, concurrency=3
        )
    assert [answer.error for answer in answers] == [""] * 12
    assert (server.connections, server.most_at_work) == (3, 3)
    assert sorted(server.bodies) == [b'{"a":1}'] * 6 + [b"{}"] * 6
    assert all(b"\r\nx-a: b\r\n" in head for head in server.heads)


@on_uvloop
async def test_a_closing_server_is_connected_to_anew():
    async with serving([WHOLE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), b""]) as server:
        answers = await load.run(load.Endpoint(server.url), [b"{}"], requests=3, concurrency=1)
    assert [answer.error for answer in answers] == [""] * 3
    assert server.connections == 3


@on_uvloop
async def test_answers_stand_in_the_order_of_asking():
    bodies = [b"[%d]" % number for number in range(4)]

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(3)
                await asyncio.sleep(0.02 * (4 - int(body[1:2])))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n" + body)
        writer.close()

    listener = await asyncio.start_server(echo, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    answers = await load.run(load.Endpoint(url), bodies, requests=8, concurrency=4)
    listener.close()
    await asyncio.sleep(0.01)
    assert [answer.body for answer in answers] == bodies * 2


@on_uvloop
async def test_a_unix_socket(tmp_path):
    server = Server([[WHOLE]])
    listener = await asyncio.start_unix_server(server.serve, tmp_path / "s")
    [answer] = await load.run(
        load.Endpoint(f"unix:{tmp_path}/s:/v1/chat/completions"), [b"{}"], requests=1, concurrency=1
    )
    listener.close()
    await asyncio.sleep(0.01)
    assert answer.error == ""
    assert server.heads[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")


@on_uvloop
async def test_https_is_refused_in_words():
    with pytest.raises(ValueError, match="expected http://host:port/path"):
        await load.run(load.Endpoint("https://example.org/"), [b"{}"], requests=1, concurrency=1)


def test_figures_with_errors_in_them_are_refused():
    fine, wrong = (load.Answer(200, 0, None, 1, 0, b"", error) for error in ("", "status 503: b'busy'"))
    load.refuse_errors("whole-c8", [fine, fine])
    with pytest.raises(load.LoadFailed, match=r"^whole-c8: 1 of 2 answers had an error; the first: status 503"):
        load.refuse_errors("whole-c8", [fine, wrong])
