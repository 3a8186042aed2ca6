"""YAML with positions: which line a key stands on, and no key twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from router.errors import ConfigError

KeyPath = tuple[str | int, ...]


class YamlFile:
    """A parsed YAML file that knows where each key stands.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or names a key twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from None
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.data: Any = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            raise ConfigError(f"{where}: not valid YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not valid YAML: {error}") from None
        self._lines: dict[KeyPath, int] = {}
        if root is not None:
            self._index(root, (), seen=frozenset())

    def where(self, key: KeyPath) -> str:
        """Return `file:line` of the key, or of its nearest parent that stands in the file."""
        while key and key not in self._lines:
            key = key[:-1]
        line = self._lines.get(key)
        return f"{self.path}:{line}" if line else str(self.path)

    def _index(self, node: yaml.Node, at: KeyPath, seen: frozenset[int]) -> None:
        if id(node) in seen:
            raise ConfigError(f"{self.path}:{node.start_mark.line + 1}: an alias refers to itself")
        seen |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.value in names:
                    raise ConfigError(f"{self.path}:{line}: {dotted((*at, key.value))}: the key stands twice")
                names.add(key.value)
                self._lines[(*at, key.value)] = line
                self._index(value, (*at, key.value), seen)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self._lines[(*at, i)] = value.start_mark.line + 1
                self._index(value, (*at, i), seen)


def dotted(key: KeyPath) -> str:
    """Return a key path as people write it: `models.a.base_url[1]`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def substitute_env(value: object, env: Mapping[str, str]) -> tuple[Any, str | None]:
    """Replace a string `${env.NAME}` by the variable's value; return it and the name where it is unset."""
    if not (isinstance(value, str) and value.startswith("${env.") and value.endswith("}")):
        return value, None
    name = value[len("${env.") : -1]
    found = env.get(name)
    return (found, None) if found else (None, name)
