"""The HTTP endpoints, one file each. Those that take a request to a model are in `registry.ENDPOINTS`."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
