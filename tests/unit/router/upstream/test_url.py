"""What a URL means, and when the environment's proxy is asked instead."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import UpstreamFailed
from router.upstream.http import MAX_CACHED_URLS, HttpUpstream
from router.upstream.url import endpoint_url, parse_url
from tests.support.loops import on_both_loops
from tests.support.peer import Connection, always, serving


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("url", "address", "path", "host"),
    [
        ("http://host:8000/v1/a", ("host", 8000), "/v1/a", "host:8000"),
        ("http://host/v1", ("host", 80), "/v1", "host"),
        ("http://host:80", ("host", 80), "/", "host"),
        ("http://host:443/", ("host", 443), "/", "host:443"),
        ("https://host:443/a", ("host", 443), "/a", "host"),
        ("http://HOST/A%2fb//c/../d?e=%41", ("host", 80), "/A%2fb//c/../d?e=%41", "host"),
        ("http://[2001:DB8::1]:81/", ("2001:db8::1", 81), "/", "[2001:db8::1]:81"),
        ("http://[::1]/v1", ("::1", 80), "/v1", "[::1]"),
        ("unix:/run/a.sock:/v1/a", "/run/a.sock", "/v1/a", "localhost"),
        ("unix:/run/a:/b.sock:/v1/a", "/run/a:/b.sock", "/v1/a", "localhost"),
    ],
)
def test_a_url(url: str, address: object, path: str, host: str) -> None:
    target = parse_url(url)
    assert target.address == address
    assert target.encode_request("GET", {}, None).startswith(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n".encode())
    assert (target.tls, target.proxy) == (url.startswith("https:"), None)


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ("http://h/v1", "http://h/v1/chat/completions"),
        (
            "https://h/openai/deployments/d?api-version=1",
            "https://h/openai/deployments/d/chat/completions?api-version=1",
        ),
        ("http://h/v1?a=b&c=d?e", "http://h/v1/chat/completions?a=b&c=d?e"),
        ("unix:/what?/a.sock:/v1", "unix:/what?/a.sock:/v1/chat/completions"),
    ],
)
def test_the_query_of_an_api_comes_behind_the_path(root: str, expected: str) -> None:
    assert endpoint_url(root, "chat/completions") == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "host:80", "ftp://host/", "http:///v1", "http://host:99999/", "http://[::1/"),
        *("http://host/a b", "http://host/\u00fc", "unix:a", "unix:/a:/b c"),
    ],
)
def test_no_url(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_url(url)


@given(st.dictionaries(st.sampled_from(["A", "B", "C"]), st.text(st.sampled_from("ab \r\n\0:\u2028é"))))
def test_a_header_never_becomes_two(headers: dict[str, str]) -> None:
    try:
        head = parse_url("http://host/").encode_request("GET", headers, None)
    except ValueError:
        assert any(set(value) & set("\r\n\0") for value in headers.values())
        return
    assert head.count(b"\r\n") == head.count(b"\n") == head.count(b"\r") == 6 + len(headers)
    assert not any(set(value) & set("\r\n\0") for value in headers.values())


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({"http_proxy": "http://proxy:3128"}, "http://host:8000/v1", "http://proxy:3128"),
        ({"http_proxy": "proxy:3128"}, "http://host:8000/v1", "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://10.0.0.1/v1", "http://proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, "https://host/v1", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://host/v1", "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128"}, "http://host/v1", None),
        ({"http_proxy": "http://p", "no_proxy": "host"}, "http://host:8000/v1", None),
        ({"http_proxy": "http://p", "no_proxy": ".example"}, "http://a.example/v1", None),
        ({"http_proxy": "http://p", "no_proxy": "host:8000"}, "http://host:8000/v1", None),
        ({"http_proxy": "http://p", "no_proxy": "host:8001"}, "http://host:8000/v1", "http://p"),
        ({"http_proxy": "http://p", "no_proxy": "2001:db8::1"}, "http://[2001:db8::1]:8000/v1", None),
        ({"http_proxy": "http://p", "no_proxy": "*"}, "http://host/v1", None),
        ({"https_proxy": "http://p", "no_proxy": "host"}, "https://host/v1", None),
        ({"http_proxy": "http://p", "NO_PROXY": "10.0.0.0/8"}, "http://10.1.2.3:8000/v1", None),
        ({"http_proxy": "http://p", "NO_PROXY": "10.0.0.0/8"}, "http://11.1.2.3:8000/v1", "http://p"),
        ({"https_proxy": "http://p", "no_proxy": "fd00::/8"}, "https://[fd00::1]/v1", None),
        ({"http_proxy": "http://p"}, "http://localhost:8000/v1", None),
        ({"http_proxy": "http://p"}, "http://127.9.9.9:8000/v1", None),
        ({"http_proxy": "http://p"}, "http://[::1]:8000/v1", None),
        ({"http_proxy": "http://p"}, "unix:/a:/v1", None),
        ({"http_proxy": ""}, "http://host/v1", None),
    ],
)
def test_a_proxy(environment: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert parse_url(url).proxy == proxy


@on_both_loops
async def test_a_proxy_is_asked_for_the_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(always) as server:
        monkeypatch.setenv("http_proxy", f"http://me:secret@{server.url.split('/')[2]}")
        upstream = HttpUpstream()
        for _ in range(2):
            exchange = await upstream.send(
                "POST", "http://upstream.example:81/v1/a", headers={"X-Test": "1"}, body=b"{}", connect_s=5, within_s=60
            )
            assert (exchange.status, await exchange.read()) == (200, b"whole")
            exchange.close()
        request = server.connections[0].requests[0]
        assert request.startswith(b"POST http://upstream.example:81/v1/a HTTP/1.1\r\n")
        assert b"Host: upstream.example:81\r\n" in request
        assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:secret") in request
        assert b"X-Test: 1\r\n" in request
        # loopback never goes through it
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        assert (
            await (await upstream.send("GET", server.url, headers={}, body=None, connect_s=5, within_s=60)).read()
            == b"whole"
        )
        await upstream.close()


@on_both_loops
async def test_tls_is_spoken_through_a_proxy_to_the_server_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.answer(status="403 Forbidden")

    async with serving(play) as server:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{server.url.split('/')[2]}")
        upstream = HttpUpstream()
        with pytest.raises(UpstreamFailed):
            await upstream.send(
                "POST", "https://upstream.example/v1", headers={"A": "secret"}, body=b"", connect_s=5, within_s=60
            )
        await upstream.close()
        assert server.connections[0].requests[0].startswith(b"CONNECT upstream.example:443 HTTP/1.1\r\n")
        assert b"secret" not in server.connections[0].requests[0]


@on_both_loops
async def test_urls_are_not_remembered_for_ever() -> None:
    async with serving(always) as server:
        upstream = HttpUpstream()
        for n in range(3):
            exchange = await upstream.send("GET", f"{server.url}/{n}", headers={}, body=None, connect_s=5, within_s=60)
            await exchange.read()
        assert len(upstream._targets) == 3
        for n in range(MAX_CACHED_URLS):
            upstream._resolve(f"{server.url}/{n}")
        assert len(upstream._targets) <= MAX_CACHED_URLS
        assert len(upstream._origins) == 1
        await upstream.close()
