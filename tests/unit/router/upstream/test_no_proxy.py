"""Which servers NO_PROXY exempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.upstream.no_proxy import is_exempt


@pytest.mark.parametrize(
    ("no_proxy", "host", "exempt"),
    [
        ("*", "anything.example", True),
        ("", "host", False),
        (" , ,", "host", False),
        # ranges
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "10.example", False),
        ("10.1.2.3/8", "10.9.9.9", True),  # with bits of a host
        ("127.0.0.0/8,10.0.0.0/8,172.16.0.0/12", "172.31.255.255", True),
        ("172.16.0.0/12", "172.32.0.1", False),
        ("fd00::/8", "fd12:3456::1", True),
        ("[fd00::]/8", "fd12:3456::1", True),
        ("fd00::/8", "fe80::1", False),
        ("fd00::/8", "10.0.0.1", False),
        ("0.0.0.0/0", "::1", False),
        ("10.0.0.0/99", "10.0.0.1", False),
        ("a/b", "a", False),
        # addresses
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.10", False),
        ("2001:db8::1", "2001:db8:0:0::1", True),
        ("[2001:DB8::1]", "2001:db8::1", True),
        ("[2001:db8::1]:8000", "2001:db8::1", True),
        ("[2001:db8::1]:8001", "2001:db8::1", False),
        # names
        ("host", "host", True),
        ("HOST", "host", True),
        ("example", "a.b.example", True),
        (".example", "a.example", True),
        (".example", "example", True),
        ("*.example", "a.example", True),
        ("example", "notexample", False),
        ("a.example", "example", False),
        ("example.", "a.example", True),
        ("example", "a.example.", True),
        (".", "host", False),
        # ports
        ("host:8000", "host", True),
        ("host:8001", "host", False),
        ("10.0.0.1:8000", "10.0.0.1", True),
        ("10.0.0.1:80", "10.0.0.1", False),
        (".example:8000", "a.example", True),
        ("host:", "host", True),
        # several, as people write them
        ("localhost, 127.0.0.1 ,.svc.cluster.local,10.96.0.0/12", "vllm.models.svc.cluster.local", True),
        ("localhost 10.0.0.0/8", "10.0.0.1", True),
    ],
)
def test_a_server_is_exempt(no_proxy: str, host: str, exempt: bool) -> None:
    assert is_exempt(no_proxy, host, 8000) is exempt


@given(st.text("a1.:/[]*, x", max_size=30), st.sampled_from(["host", "10.0.0.1", "::1", "a.b"]))
def test_no_entry_is_an_error(no_proxy: str, host: str) -> None:
    is_exempt(no_proxy, host, 80)
