"""The values of single keys of models.yaml: checked, with messages that say what was expected. Pure."""

from __future__ import annotations

import re
from typing import get_args
from urllib.parse import urlsplit

from pydantic import SecretStr

from router.config.hours import Hours
from router.types import Ability


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
    """Return the URL of an API without a slash at its end.

    Raises:
        ValueError: it is wrong. The message says what was expected.
    """
    if not re.fullmatch(r"[!-~]+", value) or set(value) & set('\\"<>^`{|}'):
        raise ValueError("URL contains invalid characters; expected one such as http://host:8000/v1")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:  # .port raises over 65535
        raise ValueError("expected a URL such as http://host:8000/v1")
    if set(value) & set("@?#"):
        raise ValueError("expected a URL without user, query or fragment")
    return value.rstrip("/")


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
