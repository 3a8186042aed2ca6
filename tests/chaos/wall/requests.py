"""Requests that are large, compressed, badly written, or say things in unusual ways."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Callable
from typing import Any

from backports import zstd

from tests.chaos.wall.outcome import Outcome
from tests.chaos.wall.scenario import Scenario, Stage, Verdict, asked, fault, header, refuses, says
from tests.support.behaviours import error, respond
from tests.support.gateway import Gateway
from tests.support.lanes import QUESTION, Plan, error_of
from tests.support.waiting import PATIENCE_S

WHOLE = ("whole",)
KEPT_CONNECTION = 2000
PATH = "/v1/chat/completions"


def _posted(stage: Stage, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    """Post these bytes; return the status, and the error or the answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = stage.lane.post(PATH, body, named)
    return response.status_code, error_of(response) if response.status_code >= 400 else response.json()


def refused(
    body: bytes | Callable[[Stage], bytes], status: int, code: str, **headers: str
) -> Callable[[Stage], Verdict]:
    """Post a body that must be refused before any upstream is asked."""

    def play(stage: Stage) -> Verdict:
        found, error = _posted(stage, body(stage) if callable(body) else body, **headers)
        assert found >= 400
        assert found != 500, error
        assert not stage.lane.used, "no upstream was asked"
        return Verdict.PASS if (found, error["code"]) == (status, code) else Verdict.SAFE

    return play


def _ending(more: str) -> Callable[[Stage], bytes]:
    """Return a sound request with one more field, however it is written."""
    return lambda stage: (json.dumps(stage.lane.body())[:-1] + more + "}").encode()


def _packed(name: str, pack: Callable[[bytes], bytes]) -> Scenario:
    def play(stage: Stage) -> Verdict:
        question = [{"role": "user", "content": "Größe? " * 1000}]
        body = pack(json.dumps(stage.lane.body(messages=question)).encode())
        status, _ = _posted(stage, body, content_encoding=name)
        assert status == 200
        assert stage.site("slm").last.json["messages"] == question
        return Verdict.PASS

    return Scenario(f"a body in {name}", play, modes=WHOLE)


def _bomb(name: str, pack: Callable[[bytes], bytes]) -> Scenario:
    bomb = pack(b" " * (64 << 20))
    return Scenario(f"a bomb in {name}", refused(bomb, 413, "request_too_large", content_encoding=name), modes=WHOLE)


def _offer(name: str, lines: bytes) -> Scenario:
    def play(stage: Stage) -> Verdict:
        """The connection is usable afterwards."""
        body = json.dumps(stage.lane.body()).encode()
        head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        request = head % (PATH.encode(), len(body)) + lines + b"\r\n" + body
        with _connected(stage.lane.gateway) as client:
            for _ in range(2):
                client.sendall(request)
                assert _answered(client).startswith(b"HTTP/1.1 200")
        return Verdict.PASS

    return Scenario(f"an offer of {name}", play, modes=WHOLE)


def _connected(gateway: Gateway) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S)


def _answered(client: socket.socket) -> bytes:
    """Read one answer that says its length."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(client)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65536)
    return head + body


def _more(client: socket.socket) -> bytes:
    data = client.recv(65536)
    assert data, "the connection was closed"
    return data


def _kept_connection(stage: Stage) -> Verdict:
    """One connection carries as many requests as a client likes, failures among them."""
    slm = stage.site("slm")
    body = stage.lane.body()
    for number in range(KEPT_CONNECTION):
        if number % 100 == 50:
            slm.then(respond(500))
        response = stage.lane.gateway.http.post(PATH, json=body)
        assert response.status_code == 200, f"request {number}: {response.text}"
    return Verdict.PASS


def _pipelined(stage: Stage) -> Verdict:
    """Several requests are sent before the first is answered."""
    body = json.dumps(stage.lane.body()).encode()
    head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    with _connected(stage.lane.gateway) as client:
        client.sendall((head % (PATH.encode(), len(body)) + body) * 3)
        received = b""
        while received.count(b"Paris.") < 3:
            received += _more(client)
    return Verdict.PASS


def history(arguments: str | None) -> dict[str, Any]:
    call = {"id": "c0", "type": "function", "function": {"name": "f", "arguments": arguments}}
    turn = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    return {"messages": [*QUESTION, *turn, {"role": "tool", "tool_call_id": "c0", "content": "done"}]}


def large_context(plan: Plan) -> None:
    plan.slm(context=65_536)
    plan.llm()
    plan.route("auto", "slm", "llm")


def _large_prompt(stage: Stage) -> Verdict:
    text = "A sentence of the prompt. " * 4000
    outcome = stage.ask(messages=[{"role": "user", "content": text}])
    assert stage.site("slm").last.json["messages"][0]["content"] == text, "it arrives as it was"
    return says(by="slm")(outcome)


def names(param: str, words: str) -> Callable[[Outcome], Verdict]:
    """A 400 that names the field and the place."""

    def check(outcome: Outcome) -> Verdict:
        assert outcome.error is not None, "answered"
        right = (outcome.status, outcome.error["param"]) == (400, param) and words in outcome.error["message"]
        return Verdict.PASS if right else Verdict.SAFE

    return check


def _clamped(stage: Stage, outcome: Outcome) -> None:
    assert stage.site("slm").last.json["max_tokens"] <= 2048
    header("adapted", "max_tokens=")(stage, outcome)


SCENARIOS: list[Scenario] = [
    Scenario("a prompt of 100 KB", _large_prompt, large_context),
    Scenario(f"{KEPT_CONNECTION} requests over one connection", _kept_connection, modes=WHOLE),
    Scenario("three requests at once over one connection", _pipelined, modes=WHOLE),
    _packed("gzip", gzip.compress),
    _packed("deflate", zlib.compress),
    _packed("zstd", zstd.compress),
    _bomb("gzip", gzip.compress),
    _bomb("zstd", zstd.compress),
    Scenario(
        "an encoding that nobody knows",
        refused(b"{}", 415, "unsupported_content_encoding", content_encoding="br"),
        modes=WHOLE,
    ),
    Scenario(
        "bytes that do not unpack",
        refused(b"{}", 400, "invalid_content_encoding", content_encoding="gzip"),
        modes=WHOLE,
    ),
    _offer("h2c", b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\n"),
    _offer("TLS", b"connection: upgrade\r\nupgrade: TLS/1.2\r\n"),
    Scenario("a body above the limit", refused(b" " * (1 << 20), 413, "request_too_large"), modes=WHOLE),
    Scenario(
        "arrays nested 100,000 deep", refused(_ending(', "x": ' + "[" * 100_000), 400, "invalid_json"), modes=WHOLE
    ),
    Scenario(
        "objects nested 20,000 deep",
        refused(_ending(', "x": ' + '{"a":' * 20_000 + "1" + "}" * 20_000), 400, "invalid_json"),
        modes=WHOLE,
    ),
    Scenario("NaN", refused(_ending(', "temperature": NaN'), 400, "invalid_json"), modes=WHOLE),
    Scenario(
        "a number of 400 digits", refused(_ending(', "temperature": ' + "9" * 400), 400, "invalid_type"), modes=WHOLE
    ),
    Scenario("a byte order mark", refused(b"\xef\xbb\xbf{}", 400, "invalid_json"), modes=WHOLE),
    Scenario("bytes that are no UTF-8", refused(b'{"model": "\xff"}', 400, "invalid_json"), modes=WHOLE),
    Scenario("half of a body's JSON", refused(b'{"model": "auto", "mess', 400, "invalid_json"), modes=WHOLE),
    fault("max_tokens above the context", {}, says(by="slm"), asks={"max_tokens": 32_000}, also=_clamped),
    fault("a call without arguments in the history", {}, says(by="slm"), asks=history(""), also=asked(slm=1)),
    fault(
        "a call that cannot be read in the history",
        {},
        names("messages[1].tool_calls[0].function.arguments", "messages[1].tool_calls[0]"),
        asks=history('{"a": '),
    ),
    fault(
        "empty and null fields", {}, says(by="slm"), asks={"tools": [], "functions": [], "stop": None, "logit_bias": {}}
    ),
    fault("a model that nobody knows", {}, refuses(404, "model_not_found"), route="nobody"),
    fault("no messages", {}, refuses(400, "empty_array"), asks={"messages": []}),
    fault(
        "fields that only vLLM knows",
        {"slm": error(500)},
        says(by="llm"),
        asks={"top_k": 5},
        also=header("adapted", "top_k=dropped"),
    ),
]
