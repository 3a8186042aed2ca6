"""Policies decide which models a call asks, in which order, and which answers are good enough.

A policy is one file in this folder that has a subclass of `Policy` with `@register`. Everything else asks this
registry: models.yaml's `policy` and its options, a request's `routing.policy`, /docs, `smallfirst check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import TypeVar

from router.policy.base import Policy

_policies: dict[str, type[Policy]] = {}
POLICIES: Mapping[str, type[Policy]] = MappingProxyType(_policies)
"""by name"""
P = TypeVar("P", bound=type[Policy])


def register(policy: P) -> P:
    """Make a policy known under its `name`; use it as a class decorator.

    Raises:
        ValueError: another policy has that name.
    """
    if _policies.setdefault(policy.name, policy) is not policy:
        raise ValueError(f"two policies are named {policy.name!r}")
    return policy


def unregister(policy: type[Policy]) -> None:
    """Forget a policy, for tests that register one."""
    _policies.pop(policy.name, None)


for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
