"""What stands between a client and us, or between us and an upstream: upgrade offers, browsers, compressed bodies,
Azure's paths and keys."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Callable

import httpx
import pytest
from backports import zstd
from openai import AzureOpenAI

from tests.support.behaviours import CUT, error, stream
from tests.support.gateway import Gateway
from tests.support.lanes import Lane, Plan, error_of, usual
from tests.support.stream_events import DONE, delta, finished, first
from tests.support.waiting import PATIENCE_S

KEY, AZURE_KEY = "sk-client-canary-a1", "azure-canary-0123456789"
PAGE = "https://app.example"
ENV = {"SMALLFIRST_API_KEYS": KEY, "SMALLFIRST_CORS_ORIGINS": PAGE, "SMALLFIRST_MAX_BODY_BYTES": str(256 * 1024)}
LANES = 30


def describe(plan: Plan) -> None:
    usual(plan)
    url = plan.upstream.url(plan.name("azure")).removesuffix("/v1") + "/openai/deployments/big?api-version=2024-10-21"
    headers = {"X-Team": "team one"}
    plan.llm("azure", base_url=url, api_key=AZURE_KEY, api_key_header="api-key", headers=headers, upstream_model="big")


# --- offers to upgrade


class RawClient:
    """One connection that stays open."""

    def __init__(self, gateway: Gateway) -> None:
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S)

    def post(self, path: str, headers: bytes, body: bytes) -> tuple[int, bytes]:
        head = b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n%b\r\n" % (
            path.encode(),
            KEY.encode(),
            headers,
        )
        self.socket.sendall(head + body)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.socket.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        while len(body) < length:
            body += self.socket.recv(65536)
        return int(head.split()[1]), body


JAVA = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAA\r\n"


@pytest.mark.parametrize("offer", [JAVA, b"connection: upgrade\r\nupgrade: TLS/1.2\r\n"], ids=["h2c", "TLS"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_offers_an_upgrade_is_answered(lane: Lane, offer: bytes, chunked: bool) -> None:
    body = json.dumps(lane.body()).encode()
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    framing = b"transfer-encoding: chunked\r\n" if chunked else b"content-length: %d\r\n" % len(body)
    client = RawClient(lane.gateway)
    for headers in (offer + framing, framing + offer, framing):  # the connection is kept
        status, answer = client.post("/v1/chat/completions", headers, framed)
        assert status == 200, answer
        assert json.loads(answer)["choices"][0]["message"]["content"]
    client.socket.close()


def test_a_websocket_gets_a_clear_answer(gateway: Gateway) -> None:
    headers = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "AA==",
        "sec-websocket-version": "13",
    }
    for path, status in (("/v1/realtime", 404), ("/v1/chat/completions", 405)):
        response = gateway.http.get(path, headers=headers)
        assert response.status_code == status
        assert "no WebSockets" in error_of(response)["message"]


# --- methods and headers


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/v1/models", "/v1/models/auto-0", "/v1/models/no"])
def test_head_is_get_without_a_body(gateway: Gateway, path: str) -> None:
    whole, head = gateway.http.get(path), gateway.http.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert gateway.http.get("/health").json() == {"status": "ok"}, "the connection is usable"


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/chat/completions", "POST"), ("/v1/models", "GET"), ("/v1/models/auto-0", "GET")]
)
def test_options_names_the_methods(gateway: Gateway, path: str, method: str) -> None:
    response = gateway.http.options(path)
    assert (response.status_code, response.content) == (204, b"")
    assert {method, "OPTIONS"} <= set(response.headers["allow"].split(", "))
    assert gateway.http.options("/v1/nothing").status_code == 404
    assert gateway.http.head("/v1/chat/completions").status_code == 405


@pytest.mark.parametrize("streamed", [False, True])
def test_the_headers_of_sdks_are_accepted_and_ours_are_there(lane: Lane, streamed: bool) -> None:
    theirs = {
        "Idempotency-Key": "stainless-python-retry-1",
        "X-Stainless-Lang": "js",
        "X-Stainless-Retry-Count": "1",
        "X-Stainless-Timeout": "600",
        "OpenAI-Organization": "org-1",
        "OpenAI-Beta": "assistants=v2",
        "x-should-retry": "true",
    }
    response = lane.chat(headers=theirs, stream=streamed).response
    assert response.status_code == 200
    assert response.headers["openai-version"] == "2020-10-01"
    assert int(response.headers["openai-processing-ms"]) >= 0
    assert len(response.headers.get_list("x-request-id")) == 1
    assert not {name for name, _ in lane.slm.last.headers} & {name.lower() for name in theirs}


# --- browsers


def from_page(gateway: Gateway, method: str, path: str, *, origin: str = PAGE, **more: object) -> httpx.Response:
    headers = {"origin": origin} | dict(more.pop("headers", {}))  # type: ignore[call-overload]
    return httpx.request(method, gateway.url + path, headers=headers, trust_env=False, timeout=PATIENCE_S, **more)  # type: ignore[arg-type]


def assert_readable(response: httpx.Response) -> None:
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["vary"] == "Origin"
    exposed = response.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "retry-after", "x-smallfirst-model", "x-smallfirst-cost-usd"} < set(exposed)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/nothing"])
def test_a_preflight_needs_no_key(gateway: Gateway, path: str) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-stainless-lang",
    }
    response = from_page(gateway, "OPTIONS", path, headers=asked)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["access-control-allow-headers"] == "authorization,x-stainless-lang"
    assert "POST" in response.headers["access-control-allow-methods"]
    assert response.headers["x-request-id"]
    assert "access-control-allow-origin" not in from_page(
        gateway, "OPTIONS", path, origin="https://evil.example", headers=asked
    ).headers  # fmt: skip


def test_a_page_can_read_every_answer(gateway: Gateway, lane: Lane) -> None:
    bearer = {"authorization": f"Bearer {KEY}"}
    lane.slm.then(error(400, "no"))
    answers = {
        401: from_page(gateway, "POST", "/v1/chat/completions", json=lane.body()),
        404: from_page(gateway, "GET", "/v1/nothing"),
        405: from_page(gateway, "GET", "/v1/chat/completions", headers=bearer),
        413: from_page(gateway, "POST", "/v1/chat/completions", headers=bearer, content=b"x" * 300_000),
        415: from_page(gateway, "POST", "/v1/completions", headers=bearer | {"content-encoding": "br"}, content=b"x"),
        200: from_page(gateway, "POST", "/v1/chat/completions", headers=bearer, json=lane.body("llm")),
    }
    for status, response in answers.items():
        assert response.status_code == status
        assert_readable(response)
    for path in ("/v1/models", "/health"):
        assert_readable(from_page(gateway, "GET", path, headers=bearer))


def test_a_page_can_read_a_stream_and_its_error(lane: Lane) -> None:
    bearer = {"authorization": f"Bearer {KEY}"}
    lane.llm.then(stream(first(), delta("begun"), CUT))
    response = from_page(
        lane.gateway, "POST", "/v1/chat/completions", headers=bearer, json=lane.body("llm", stream=True)
    )
    assert response.headers["content-type"].startswith("text/event-stream")
    assert_readable(response)
    assert '"error"' in response.text


# --- compressed bodies


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("zstd", zstd.compress), ("identity", bytes)],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_compressed_body_is_read(lane: Lane, encoding: str, pack: Callable[[bytes], bytes], chunked: bool) -> None:
    question = [{"role": "user", "content": "Größe? " * 1000}]
    packed = pack(json.dumps(lane.body(messages=question)).encode())
    content = iter([packed[:100], packed[100:]]) if chunked else packed
    response = lane.gateway.http.post("/v1/chat/completions", content=content, headers={"content-encoding": encoding})
    assert response.status_code == 200, response.text
    assert lane.slm.last.json["messages"] == question
    assert lane.slm.last.header("content-encoding") is None


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_a_bomb_is_a_413(lane: Lane, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(b" " * (64 << 20))
    assert len(bomb) < 256 * 1024
    response = lane.post("/v1/chat/completions", bomb, {"content-encoding": encoding})
    assert (response.status_code, error_of(response)["code"]) == (413, "request_too_large")
    assert lane.slm.calls == []


def test_what_cannot_be_unpacked_says_so(lane: Lane) -> None:
    response = lane.post("/v1/chat/completions", b"{}", {"content-encoding": "br"})
    assert (response.status_code, error_of(response)["code"]) == (415, "unsupported_content_encoding")
    assert response.headers["accept-encoding"] == "gzip, deflate, zstd"
    response = lane.post("/v1/chat/completions", b"{}", {"content-encoding": "gzip"})
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_content_encoding")
    wrong_key = {"content-encoding": "br", "authorization": "Bearer wrong"}
    assert lane.post("/v1/chat/completions", b"{}", wrong_key).status_code == 401


# --- Azure as an upstream, and its clients


def test_an_upstream_at_azure_gets_its_query_and_its_key(lane: Lane) -> None:
    site = lane.site("azure")
    filtered = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": []}
    site.then(stream(filtered, first(), delta("hello"), finished(), DONE))
    assert lane.stream("azure").transcript.text == "hello"
    assert lane.chat("azure").status == 200
    for call in site.calls:
        assert call.path == "openai/deployments/big/chat/completions?api-version=2024-10-21"
        assert call.header("api-key") == AZURE_KEY
        assert call.header("authorization") is None
        assert call.header("x-team") == "team one"
        assert call.json["model"] == "big"


def test_a_key_in_a_header_never_shows(lane: Lane) -> None:
    lane.site("azure").then(error(400, f"bad key {AZURE_KEY}"))
    response = lane.chat("azure")
    assert AZURE_KEY not in response.response.text
    assert AZURE_KEY not in lane.gateway.output
    assert AZURE_KEY not in lane.gateway.http.get("/metrics").text


@pytest.mark.parametrize("by", ["model", "deployment"])
def test_azures_client_works(lane: Lane, by: str) -> None:
    deployment = {"azure_deployment": lane.name("auto")} if by == "deployment" else {}
    client = AzureOpenAI(
        azure_endpoint=lane.gateway.url,
        api_key=KEY,
        api_version="2024-10-21",
        http_client=httpx.Client(trust_env=False, timeout=PATIENCE_S),
        max_retries=0,
        **deployment,
    )
    name = "gpt-4o" if deployment else lane.name("auto")  # the path decides, as at Azure
    messages = [{"role": "user", "content": "hi"}]
    assert client.chat.completions.create(model=name, messages=messages).choices[0].message.content
    lane.slm.then(stream(first(), delta("one "), delta("two"), finished(), DONE))
    events = client.chat.completions.create(model=name, messages=messages, stream=True)
    assert "".join(event.choices[0].delta.content or "" for event in events if event.choices) == "one two"
    assert lane.slm.last.json["model"] == lane.name("slm")
    client.close()


def test_azures_path_names_the_model(lane: Lane) -> None:
    path = f"/openai/deployments/{lane.name('slm')}/chat/completions?api-version=2024-10-21"
    body = {key: value for key, value in lane.body().items() if key != "model"}
    response = lane.post(path, json.dumps(body))
    assert response.status_code == 200
    assert response.headers["x-smallfirst-model"] == lane.name("slm")
    response = lane.post("/openai/deployments/who/knows/chat/completions", json.dumps(body))
    assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")
    response = lane.post(path, json.dumps(body), {"authorization": "Bearer wrong"})
    assert response.status_code == 401
    assert lane.gateway.http.get(path).status_code == 405
    message = error_of(lane.gateway.http.get("/openai/models?api-version=1"))["message"]
    assert "Did you mean /v1/models?" in message
