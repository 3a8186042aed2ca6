from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.types import Scope

from router.config.models import Model
from router.decision import Decision
from router.money.price import Price
from router.record import Attempt, RequestRecord
from router.types import Usage
from server.observability import logs
from server.observability.access_log import AccessLog

CLIENT_KEY = "sk-canary-client-0123456789"
PROVIDER_KEY = 'sk-canary-"provider"\\/ü'
UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    saved = root.handlers, root.level
    yield
    root.handlers, root.level = saved
    logging.captureWarnings(False)
    for name in UVICORN:
        logging.getLogger(name).disabled = False


@pytest.fixture(params=[io.StringIO, Terminal])
def stream(request: pytest.FixtureRequest) -> io.StringIO:
    """Each form of the log: for machines, for people."""
    stream: io.StringIO = request.param()
    logs.configure([CLIENT_KEY, PROVIDER_KEY], stream)
    return stream


@pytest.fixture
def json_stream() -> io.StringIO:
    stream = io.StringIO()
    logs.configure([CLIENT_KEY, PROVIDER_KEY], stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def scope(path: str = "/v1/chat/completions") -> Scope:
    return {"type": "http", "method": "POST", "path": path, "query_string": f"key={CLIENT_KEY}".encode()}


def record(**fields: Any) -> RequestRecord:
    price = Price(input_usd_per_mtok=1.0, output_usd_per_mtok=2.0)
    usage = Usage(prompt=100, cached=40, completion=10)
    defaults: dict[str, Any] = {
        "client_request_id": "trace-1",
        "endpoint": "chat/completions",
        "route": "auto",
        "model": "slm",
        "decision": Decision(0, "fixed"),
        "attempts": [Attempt("slm", "r", price=price, usage=usage, answered=True)],
        "fallback": Model(
            name="llm",
            tier="llm",
            engine="openai",
            base_url=("http://llm/v1",),
            price=Price(input_usd_per_mtok=10.0, output_usd_per_mtok=20.0),
        ),
        "first_token_s": 0.25,
        "status": 200,
        "outcome": "ok",
        "finished": 101.5,
    }
    return RequestRecord("req_1", started=100.0, **(defaults | fields))


def access(of: RequestRecord, in_scope: Scope) -> None:
    """Log it at once."""
    log = AccessLog()
    log.close()
    log.write(of, in_scope)


class Pieces(io.StringIO):
    """What was written in one call each."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.written = asyncio.Event()

    def write(self, text: str) -> int:
        self.pieces.append(text)
        self.written.set()
        return super().write(text)


async def test_lines_wait_for_each_other_and_leave_in_whole_lines_that_a_pipe_takes_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.observability.access_log.FLUSH_S", 0.01)
    stream = Pieces()
    logs.configure([CLIENT_KEY], stream)
    log = AccessLog()
    for i in range(20):
        log.write(record(client_request_id=f"number {i}"), scope())
    assert stream.pieces == []
    await asyncio.wait_for(stream.written.wait(), 5)
    assert [line["client_request_id"] for line in lines(stream)] == [f"number {i}" for i in range(20)]
    assert 1 < len(stream.pieces) < 20
    assert all(piece.endswith("\n") and len(piece) <= logs.PIPE_BUF for piece in stream.pieces)
    log.write(record(), scope())
    assert len(lines(stream)) == 20
    log.close()
    assert len(lines(stream)) == 21
    log.write(record(), scope())
    assert len(lines(stream)) == 22, "after the end nobody would come to write it"


async def test_no_more_than_so_many_lines_wait(json_stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.observability.access_log.MAX_PENDING", 5)
    log = AccessLog()
    for _ in range(14):
        log.write(record(), scope())
    assert len(lines(json_stream)) == 10
    log.close()


def test_a_log_that_nobody_reads_any_more_stops_nothing() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    logs.configure([], Broken())
    access(record(), scope())


def test_one_access_line(json_stream: io.StringIO) -> None:
    access(record(), scope())
    [line] = lines(json_stream)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "server.observability.access_log",
        "message": "POST /v1/chat/completions 200",
        "request_id": "req_1",
        "client_request_id": "trace-1",
        "endpoint": "chat/completions",
        "route": "auto",
        "model": "slm",
        "reason": "fixed",
        "attempts": 1,
        "stream": False,
        "status": 200,
        "outcome": "ok",
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "completion_tokens": 10,
        "cost_usd": 0.00012,
        "saved_usd": 0.00108,
        "first_token_ms": 250.0,
        "duration_ms": 1500.0,
    }


def test_what_is_zero_is_said_and_what_is_unknown_is_left_out(json_stream: io.StringIO) -> None:
    free = Price(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0)
    access(record(attempts=[Attempt("slm", "r", price=free, usage=Usage(), answered=True)]), scope())
    access(record(attempts=[Attempt("slm", "r", answered=True)]), scope())
    access(record(attempts=[], model="", status=401, outcome="client_error"), scope())
    known, unknown, refused = lines(json_stream)
    assert (known["cost_usd"], known["completion_tokens"]) == (0, 0)
    assert not {"cost_usd", "completion_tokens", "saved_usd"} & set(unknown)
    assert not {"cost_usd", "model", "saved_usd"} & set(refused)
    assert refused["attempts"] == 0


def test_levels(json_stream: io.StringIO) -> None:
    access(record(), scope("/health"))
    access(record(), scope("/metrics"))
    access(record(), scope("/ready"))
    access(record(status=404), scope("/health"))
    access(record(status=503), scope("/ready"))
    access(record(status=500), scope("/ready"))
    assert [(line["level"], line["message"]) for line in lines(json_stream)] == [
        ("info", "POST /health 404"),
        ("warning", "POST /ready 500"),
    ]


@pytest.mark.parametrize("path", ["/a\nb", "/\x1b[2J", "/" + "x" * 5000, "/ü", "/a b"])
def test_a_path_cannot_forge_a_line(path: str, stream: io.StringIO) -> None:
    access(record(), scope(path))
    [line] = stream.getvalue().splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 1000


def test_a_key_is_not_cut_in_half(json_stream: io.StringIO) -> None:
    for padding in range(150, 220):
        access(record(), scope("/" + "x" * padding + CLIENT_KEY))
    assert "sk-" not in json_stream.getvalue()


def test_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    logs.configure([], stream)
    access(record(), scope())
    assert "INFO    POST /v1/chat/completions 200 request_id=req_1 client_request_id=trace-1" in stream.getvalue()
    assert capsys.readouterr() == ("", "")


class Leaky:
    def __repr__(self) -> str:
        return f"Leaky({PROVIDER_KEY!r})"


def leak_everywhere() -> None:
    """Let both keys come into the log by every way there is."""
    logger = logging.getLogger("some.library")
    for key in (CLIENT_KEY, PROVIDER_KEY):
        logger.warning("in the message %s", key)
        logger.warning("as a repr %r in %s", key, {"authorization": f"Bearer {key}"})
        logger.warning("in a field", extra={"fields": {"header": key, "nested": [{"key": key}]}})
        logger.warning(json.dumps({"body": json.dumps({"key": key})}))
        logger.warning("in bytes %r", key.encode())
        try:
            try:
                raise ValueError(key)
            except ValueError as error:
                raise RuntimeError(f"wrapped {key}") from error
        except RuntimeError:
            logger.exception("failed with %s", key)
        logger.warning("with a stack", stack_info=True)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(f"deprecated {key}", stacklevel=1)
        logging.getLogger("uvicorn.error").error("in uvicorn %s", key)
        logging.getLogger("uvicorn.access").info("GET /?key=%s", key)
        access(record(client_request_id=key), scope(f"/{key}"))
    logger.warning("%s", Leaky(), extra={"fields": {"object": Leaky()}})


def test_secrets_never_appear(stream: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    leak_everywhere()
    out, err = capfd.readouterr()
    everything = stream.getvalue() + out + err
    assert "canary" not in everything
    assert everything.count(logs.REDACTED) >= 30
    for message in ("in the message", "as a repr", "in a field", "wrapped", "ValueError", "deprecated", "in uvicorn"):
        assert message in everything


def test_redacted_lines_stay_json(json_stream: io.StringIO) -> None:
    leak_everywhere()
    read = lines(json_stream)
    assert any("Traceback" in line.get("exception", "") for line in read)
    assert any("test_logs.py" in line.get("stack", "") for line in read)


@given(st.text(min_size=8, max_size=40), st.text(max_size=20))
def test_any_secret_is_taken_out(secret: str, around: str) -> None:
    assume(secret not in logs.REDACTED)  # what stands in its place may look like it
    stream = io.StringIO()
    logs.configure([secret], stream)
    logging.getLogger("x").warning("%s", around + secret + around)
    assert json.dumps(secret)[1:-1] not in stream.getvalue()


def test_placeholders_are_not_secrets(json_stream: io.StringIO) -> None:
    logs.configure(["EMPTY", "", "none"], json_stream)
    logging.getLogger("x").warning("none is EMPTY")
    assert lines(json_stream)[0]["message"] == "none is EMPTY"


def test_a_secret_within_another_leaves_nothing() -> None:
    stream = io.StringIO()
    logs.configure(["sk-canary", "sk-canary-longer"], stream)
    logging.getLogger("x").warning("key sk-canary-longer.")
    assert lines(stream)[0]["message"] == f"key {logs.REDACTED}."


def test_uvicorn_is_routed_here_and_its_access_log_is_off(json_stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("Started")
    logging.getLogger("uvicorn.access").info("GET / 200")
    assert [(line["logger"], line["message"]) for line in lines(json_stream)] == [("uvicorn.error", "Started")]
    assert all(not logging.getLogger(name).handlers for name in UVICORN)


def test_configured_twice_logs_once(json_stream: io.StringIO) -> None:
    logs.configure([], json_stream)
    logging.getLogger("x").warning("once")
    assert len(lines(json_stream)) == 1
