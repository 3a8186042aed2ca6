from __future__ import annotations

import hmac

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretStr

from router.errors import AuthenticationFailed
from server.auth import Keyring

FIRST, SECOND = "sk-first-0123456789", "sk-second-0123456789"
KEYRING = Keyring([SecretStr(FIRST), SecretStr(SECOND)])


def refused(*headers: tuple[bytes, bytes]) -> AuthenticationFailed:
    with pytest.raises(AuthenticationFailed) as caught:
        KEYRING.check(headers)
    return caught.value


@pytest.mark.parametrize("key", [FIRST, SECOND])
@pytest.mark.parametrize(
    ("name", "form"),
    [
        (b"authorization", "Bearer {}"),
        (b"authorization", "bearer  {} "),
        (b"api-key", "{}"),
        (b"x-api-key", " {}"),
    ],
)
def test_a_known_key_passes(key: str, name: bytes, form: str) -> None:
    KEYRING.check([(b"host", b"x"), (name, form.format(key).encode())])


def test_one_known_key_among_several_headers_is_enough() -> None:
    KEYRING.check([(b"authorization", b"Bearer wrong"), (b"x-api-key", FIRST.encode())])


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer "),
        (b"authorization", b"Bearer"),
        (b"authorization", f"Basic {FIRST}".encode()),
        (b"authorization", FIRST.encode()),
        (b"api-key", b""),
        (b"cookie", FIRST.encode()),
    ],
)
def test_no_key(header: tuple[bytes, bytes]) -> None:
    error = refused(header)
    assert (error.status, error.code, error.type) == (401, "invalid_api_key", "invalid_request_error")
    assert "did not provide" in error.message


@pytest.mark.parametrize("wrong", [FIRST[:-1], FIRST + "x", FIRST.upper(), f"{FIRST},{SECOND}", "\xff\xfe"])
def test_a_wrong_key_is_not_repeated(wrong: str) -> None:
    error = refused((b"authorization", b"Bearer " + wrong.encode("latin-1")))
    assert (error.status, error.code) == (401, "invalid_api_key")
    assert wrong not in str(error.body())


@given(st.binary(max_size=64))
def test_nothing_else_passes(value: bytes) -> None:
    assume(value.strip() not in (FIRST.encode(), SECOND.encode()))
    for name in (b"api-key", b"x-api-key"):
        refused((name, value))
    refused((b"authorization", b"Bearer " + value))


def test_every_pair_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def compare(a: bytes, b: bytes) -> bool:
        lengths.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    KEYRING.check([(b"api-key", FIRST.encode()), (b"x-api-key", b"short")])
    assert lengths == [(32, 32)] * 4


def test_without_keys_everything_passes() -> None:
    Keyring([]).check([])
    Keyring([]).check([(b"authorization", b"Bearer anything")])


def test_keys_are_not_kept() -> None:
    assert FIRST not in repr(vars(KEYRING))


# --- pages that a browser shows: without keys they would call in their visitor's name


def from_page(origin: bytes, host: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", host), (b"content-type", b"text/plain"), (b"origin", origin)]


FOREIGN = [
    (b"https://evil.example", b"127.0.0.1:8000"),
    (b"http://evil.example:8000", b"localhost:8000"),
    (b"http://localhost:3000", b"localhost:8000"),
    (b"http://127.0.0.1:8000", b"localhost:8000"),
    (b"http://localhost", b"localhost:8000"),
    (b"null", b"127.0.0.1:8000"),
    (b"", b"127.0.0.1:8000"),
    (b"127.0.0.1:8000", b"127.0.0.1:8000"),
    (b"http://localhost:8000 http://evil.example", b"localhost:8000"),
    # a name of its own that resolves to loopback now: to the browser it is one and the same origin
    (b"http://evil.example", b"evil.example"),
    (b"http://evil.example:8000", b"evil.example:8000"),
    (b"http://localhost.evil.example:8000", b"localhost.evil.example:8000"),
    (b"http://localhostile.example", b"localhostile.example"),
    (b"http://127.0.0.1.nip.io:8000", b"127.0.0.1.nip.io:8000"),
    (b"http://127.evil.example", b"127.evil.example"),
    (b"http://[::1].evil.example", b"[::1].evil.example"),
    (b"http://10.0.0.1:8000", b"10.0.0.1:8000"),
]


@pytest.mark.parametrize(("origin", "host"), FOREIGN)
def test_without_keys_a_page_of_another_site_is_refused(origin: bytes, host: bytes) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        Keyring([]).check(from_page(origin, host))
    error = caught.value
    assert (error.status, error.code) == (403, "foreign_origin")
    assert "SMALLFIRST_API_KEYS" in error.message


def test_a_page_without_a_host_is_refused() -> None:
    with pytest.raises(AuthenticationFailed):
        Keyring([]).check([(b"origin", b"http://localhost")])


@pytest.mark.parametrize(
    "host", [b"localhost:8000", b"127.0.0.1:8000", b"127.0.0.1", b"127.1.2.3:80", b"[::1]:8000", b"localhost"]
)
@pytest.mark.parametrize("scheme", [b"http://", b"https://"])
def test_our_own_page_on_loopback_passes(scheme: bytes, host: bytes) -> None:
    Keyring([]).check(from_page(scheme + host, host))


@pytest.mark.parametrize("host", [b"localhost:8000", b"evil.example", b"gateway.internal"])
def test_what_is_no_page_passes(host: bytes) -> None:
    Keyring([]).check([(b"host", host)])


@pytest.mark.parametrize(("origin", "host"), FOREIGN)
def test_with_keys_the_origin_does_not_matter(origin: bytes, host: bytes) -> None:
    KEYRING.check([*from_page(origin, host), (b"authorization", f"Bearer {FIRST}".encode())])
    assert refused(*from_page(origin, host)).status == 401
