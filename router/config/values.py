"""The values of single keys of models.yaml: checked, with messages that say what was expected. Pure."""

from __future__ import annotations

import re
from typing import get_args
from urllib.parse import urlsplit

from pydantic import SecretStr

from router.config.hours import Hours
from router.types import Ability

OWN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-request-id",
    }
)
"""the headers that the gateway sends, or that concern one connection only, in lower case"""


def not_none(value: str) -> str:
    """Check a name.

    Raises:
        ValueError: it is the reserved one.
    """
    if value == "none":
        raise ValueError("`none` is reserved; choose another name")
    return value


def known_abilities(value: object) -> object:
    """Return a list of abilities as a set, and any other value unchanged.

    Raises:
        ValueError: one of them is unknown.
    """
    if not isinstance(value, list):
        return value
    unknown = [word for word in value if word not in get_args(Ability)]
    if unknown:
        raise ValueError(f"unknown ability {unknown[0]!r}; expected some of {', '.join(get_args(Ability))}")
    return frozenset(value)


def http_url(value: str) -> str:
    """Return the URL of an API without a slash at the end of its path. It may have a query, as Azure's URLs do.

    Raises:
        ValueError: it is wrong. The message says what was expected.
    """
    if not re.fullmatch(r"[!-~]+", value) or set(value) & set('\\"<>^`{|}'):
        raise ValueError("URL contains invalid characters; expected one such as http://host:8000/v1")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:  # .port raises over 65535
        raise ValueError("expected a URL such as http://host:8000/v1")
    root, mark, query = value.partition("?")
    if "#" in value or "@" in parts.netloc or (mark and not query):
        raise ValueError("expected a URL without user, fragment or empty query")
    return root.rstrip("/") + mark + query


def header_name(value: str) -> str:
    """Check the name of a header that is sent to an upstream.

    Raises:
        ValueError: it is no name, or the gateway sends that header itself.
    """
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value):
        raise ValueError("expected the name of an HTTP header, such as api-key")
    if value.lower() in OWN_HEADERS:
        raise ValueError("the gateway sends this header itself")
    return value


def header_text(value: object) -> object:
    """Return the value of a header, which may be a key, as a secret; any value that is no text unchanged.

    Raises:
        ValueError: it does not fit into a header.
    """
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value):
        raise ValueError("expected visible ASCII characters")
    return SecretStr(value)


def header_value(value: SecretStr) -> SecretStr:
    """Check a key that is sent in a header.

    Raises:
        ValueError: it is wrong. The message says what was expected.
    """
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("expected a key of visible ASCII characters, without spaces or line breaks")
    if value.get_secret_value().startswith("$"):
        raise ValueError("expected ${env.NAME}, or the key itself")
    return value


def check_hours(text: str) -> str:
    """Check the hours of a model.

    Raises:
        ValueError: it is wrong. The message says what was expected.
    """
    Hours.parse(text)
    return text
