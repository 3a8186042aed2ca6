"""Dialects: the request format and the error format of each kind of engine.

A dialect is one file of this folder: a subclass of `Dialect` with `@register`. Its name is an `engine` of models.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import TypeVar

from router.upstream.base import Dialect

_dialects: dict[str, Dialect] = {}
DIALECTS: Mapping[str, Dialect] = MappingProxyType(_dialects)
"""by name"""
D = TypeVar("D", bound=type[Dialect])


def register(dialect: D) -> D:
    """Register a dialect under its `name`; use it as a class decorator.

    Raises:
        ValueError: another dialect has that name.
    """
    if dialect.name in _dialects:
        raise ValueError(f"two dialects are named {dialect.name!r}")
    _dialects[dialect.name] = dialect()
    return dialect


def unregister(name: str) -> None:
    """Remove a registered dialect; for tests."""
    _dialects.pop(name, None)


for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
