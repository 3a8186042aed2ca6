"""Every error on every path has OpenAI's shape, and a refused request costs no upstream call."""

from __future__ import annotations

import json
import socket

import pytest

from tests.support.gateway import Gateway
from tests.support.lanes import Lane, error_of, usual
from tests.support.waiting import PATIENCE_S

describe = usual
LANES = 30
ENV = {"SMALLFIRST_MAX_BODY_BYTES": str(256 * 1024)}

MESSAGE = '{"role": "user", "content": "hi"}'
BODY = '{"model": "MODEL", "messages": [' + MESSAGE + "]"

NOT_JSON = {
    "empty": b"",
    "cut": b'{"model": "auto-0"',
    "not json": b"model=auto",
    "two values": b"{} {}",
    "nan": (BODY + ', "temperature": NaN}').encode(),
    "infinity": (BODY + ', "x": -Infinity}').encode(),
    "bom": b"\xef\xbb\xbf" + (BODY + "}").encode(),
    "not utf-8": (BODY + ', "user": "\xff"}').encode("latin-1"),
    "utf-16": (BODY + "}").encode("utf-16"),
    "depth bomb": (BODY + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}").encode(),
    "object depth bomb": (BODY + ', "x": ' + '{"a":' * 20_000 + "1" + "}" * 20_000 + "}").encode(),
    "endless number": (BODY + ', "x": ' + "9" * 10_000 + "}").encode(),
    "raw control character": (BODY + ', "user": "\n"}').encode(),
    "trailing comma": (BODY + ",}").encode(),
}


def with_model(lane: Lane, body: bytes) -> bytes:
    return body.replace(b"MODEL", lane.name("auto").encode())


def assert_no_call(lane: Lane) -> None:
    assert lane.slm.calls == []
    assert lane.llm.calls == []


@pytest.mark.parametrize("kind", NOT_JSON)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_a_body_that_is_not_json_is_a_400(lane: Lane, path: str, kind: str) -> None:
    response = lane.post(path, with_model(lane, NOT_JSON[kind]))
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"
    assert_no_call(lane)


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true"])
def test_json_that_is_no_object_is_a_400(lane: Lane, body: bytes) -> None:
    response = lane.post("/v1/chat/completions", body)
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


def test_duplicate_keys_are_no_error(lane: Lane) -> None:
    body = with_model(lane, (BODY + ', "user": "a", "user": "b"}').encode())
    assert lane.post("/v1/chat/completions", body).status_code == 200
    assert lane.slm.last.json["user"] == "b"


def test_a_missing_field_is_named(lane: Lane) -> None:
    response = lane.post("/v1/chat/completions", json.dumps({"model": lane.name("auto")}))
    assert response.status_code == 400
    error = error_of(response)
    assert (error["code"], error["param"]) == ("missing_required_parameter", "messages")
    response = lane.post("/v1/chat/completions", json.dumps({"messages": [json.loads(MESSAGE)]}))
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (400, "missing_required_parameter", "model")
    response = lane.post("/v1/completions", json.dumps({"model": lane.name("auto")}))
    error = error_of(response)
    assert (response.status_code, error["param"]) == (400, "prompt")
    assert_no_call(lane)


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("messages", "hello"),
        ("messages", {}),
        ("messages", [1]),
        ("messages", ["hello"]),
        ("messages", None),
        ("model", 7),
        ("model", ["auto"]),
        ("model", None),
        ("stream", "yes"),
        ("stream", 1),
        ("temperature", "hot"),
        ("max_tokens", "many"),
        ("max_tokens", 1.5),
        ("n", "two"),
        ("stop", 5),
        ("tools", "all"),
        ("response_format", "json"),
        ("stream_options", 3),
        ("routing", "fast"),
        ("routing", []),
    ],
)
def test_a_wrong_type_names_the_field(lane: Lane, param: str, value: object) -> None:
    answer = lane.chat(**{param: value})
    assert answer.status == 400, answer.response.text
    assert (answer.error["param"] or "").split(".")[0].split("[")[0] == param
    assert answer.error["type"] == "invalid_request_error"
    assert_no_call(lane)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"max_tokens": -1},
        {"max_completion_tokens": -5},
        {"n": 0},
        {"n": -1},
        {"temperature": -0.1},
        {"temperature": 2.5},
        {"top_p": 1.5},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"top_logprobs": 21, "logprobs": True},
        {"routing": {"policy": "cheapest"}},
        {"routing": {"max_cost_usd": -1}},
        {"routing": {"deadline_ms": 0}},
        {"routing": {"deadline_ms": "soon"}},
        {"routing": {"no_such_option": 1}},
    ],
    ids=json.dumps,
)
def test_a_value_out_of_range_is_a_400(lane: Lane, fields: dict[str, object]) -> None:
    answer = lane.chat(**fields)
    assert answer.status == 400, answer.response.text
    assert (answer.error["param"] or "").startswith(next(iter(fields)))
    assert_no_call(lane)


def test_stream_options_without_stream_are_a_400(lane: Lane) -> None:
    answer = lane.chat(stream_options={"include_usage": True})
    assert answer.status == 400
    assert answer.error["param"] == "stream_options"
    assert_no_call(lane)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": None},
        {"stop": None},
        {"temperature": None},
        {"stream": None},
        {"response_format": None},
        {"tools": None},
        {"n": None},
        {"routing": None},
        {"stream_options": None},
    ],
    ids=json.dumps,
)
def test_null_is_the_same_as_not_said(lane: Lane, fields: dict[str, object]) -> None:
    assert lane.chat(**fields).status == 200


@pytest.mark.parametrize("model", ["gpt-unheard-of", "auto", "../health", "a\nb", "x" * 200, "é\u2028"], ids=ascii)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_an_unknown_model_is_a_404(lane: Lane, path: str, model: str) -> None:
    body = {"model": model, "messages": [json.loads(MESSAGE)], "prompt": "hi"}
    response = lane.post(path, json.dumps(body))
    assert response.status_code == 404
    error = error_of(response)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert_no_call(lane)


@pytest.mark.parametrize("model", ["", "x" * 5000], ids=len)
def test_what_cannot_be_a_models_name_is_a_400(lane: Lane, model: str) -> None:
    response = lane.post("/v1/chat/completions", json.dumps({"model": model, "messages": [json.loads(MESSAGE)]}))
    assert response.status_code == 400
    assert error_of(response)["param"] == "model"
    assert len(response.content) < 2000


@pytest.mark.parametrize("place", ["model", "user", "a_new_field"])
def test_half_a_character_is_a_400(lane: Lane, place: str) -> None:
    response = lane.post("/v1/chat/completions", json.dumps(lane.body() | {place: "\ud83d"}))
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"
    assert_no_call(lane)


@pytest.mark.parametrize(
    "path", ["/v1/nothing", "/", "/v1", "/v1/v1/chat/completions", "/chat/completions", "/v1/chat/completions/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_a_404_that_names_it(gateway: Gateway, method: str, path: str) -> None:
    response = gateway.http.request(method, path)
    assert response.status_code == 404
    assert path in error_of(response)["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("PUT", "/v1/chat/completions"),
        ("GET", "/v1/completions"),
        ("DELETE", "/v1/models/auto-0"),
        ("POST", "/v1/models"),
        ("POST", "/health"),
        ("DELETE", "/metrics"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_one(gateway: Gateway, method: str, path: str) -> None:
    response = gateway.http.request(method, path)
    assert response.status_code == 405
    assert error_of(response)["type"] == "invalid_request_error"
    assert response.headers["allow"]


def test_a_body_over_the_limit_is_a_413(lane: Lane) -> None:
    body = lane.body(messages=[{"role": "user", "content": "x" * 300 * 1024}])
    response = lane.post("/v1/chat/completions", json.dumps(body))
    assert response.status_code == 413
    assert error_of(response)["code"] == "request_too_large"
    assert_no_call(lane)


def test_a_chunked_body_over_the_limit_is_a_413_before_all_of_it_is_read(lane: Lane) -> None:
    def pieces():
        for _ in range(64):
            yield b"x" * 16 * 1024

    response = lane.gateway.http.post("/v1/chat/completions", content=pieces())
    assert response.status_code == 413
    assert error_of(response)["code"] == "request_too_large"


def test_a_declared_length_over_the_limit_is_refused_without_waiting_for_the_body(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 99999999\r\n\r\n"
        )
        assert b" 413 " in client.recv(65536).split(b"\r\n")[0]


def test_a_chunked_body_is_accepted(lane: Lane) -> None:
    data = json.dumps(lane.body()).encode()
    response = lane.gateway.http.post("/v1/chat/completions", content=iter([data[:20], data[20:]]))
    assert response.status_code == 200
    assert lane.slm.last.json["messages"] == lane.body()["messages"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_the_content_type_does_not_matter(lane: Lane, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    response = lane.gateway.http.post("/v1/chat/completions", content=json.dumps(lane.body()), headers=headers)
    assert response.status_code == 200


def test_a_client_that_leaves_within_its_body_is_no_fault_of_ours(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
    gateway.assert_idle()
    assert gateway.http.get("/health").status_code == 200


def test_garbage_instead_of_http_does_no_harm(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as client:
        client.sendall(b"\x16\x03\x01 not http at all\r\n\r\n")
        assert b" 400 " in client.recv(65536).split(b"\r\n")[0]
    assert gateway.http.get("/health").status_code == 200


def test_an_error_has_the_usual_headers(lane: Lane) -> None:
    answer = lane.chat(temperature="hot")
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"


def test_the_number_that_json_cannot_hold_is_no_internal_error(lane: Lane) -> None:
    body = with_model(lane, (BODY + ', "x": 1e999}').encode())
    response = lane.post("/v1/chat/completions", body)
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"
