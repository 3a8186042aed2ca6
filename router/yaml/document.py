"""YAML with the line of each key. Duplicate keys are rejected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from router.errors import ConfigError

KeyPath = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
MAX_ENTRIES = 100_000
_KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")  # an unquoted 7 is a number, an unquoted yes is true


class _DatesAsText(yaml.SafeLoader):
    """Loads a date as text, so that the field's own validator can say what it expected."""


_DatesAsText.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class YamlDocument:
    """A parsed YAML file that knows the line of each key.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or contains a key twice.
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
            self.data: Any = yaml.load(text, Loader=_DatesAsText)  # noqa: S506 (it is a SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            raise ConfigError(f"{where}: not valid YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
        self._lines: dict[KeyPath, int] = {}
        if root is not None:
            self._index(root, (), ancestors=frozenset())

    def where(self, key: KeyPath) -> str:
        """Return `file:line` of the key, or of its nearest parent that is in the file."""
        while key and key not in self._lines:
            key = key[:-1]
        line = self._lines.get(key)
        return f"{self.path}:{line}" if line else str(self.path)

    def _index(self, node: yaml.Node, at: KeyPath, ancestors: frozenset[int]) -> None:
        if len(self._lines) > MAX_ENTRIES:
            raise ConfigError(f"{self.path}: more than {MAX_ENTRIES} entries, including aliases")
        if id(node) in ancestors:
            raise ConfigError(f"{self.path}:{node.start_mark.line + 1}: an alias refers to itself")
        ancestors |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.tag not in _KEY_TAGS:
                    name = dotted((*at, str(key.value)))
                    raise ConfigError(f"{self.path}:{line}: {name}: YAML does not read this key as text; quote it")
                if key.value in names:
                    raise ConfigError(f"{self.path}:{line}: {dotted((*at, key.value))}: the key appears twice")
                names.add(key.value)
                self._lines[(*at, key.value)] = line
                self._index(value, (*at, key.value), ancestors)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self._lines[(*at, i)] = value.start_mark.line + 1
                self._index(value, (*at, i), ancestors)


def dotted(key: KeyPath) -> str:
    """Return a key path in the usual notation: `models.a.base_url[1]`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def substitute_env(value: Any, env: Mapping[str, str]) -> tuple[Any, str | None]:
    """Replace each string `${env.NAME}`, also in lists and mappings. Return the result and the first unset name.

    Raises:
        ValueError: a variable is only part of a string.
    """
    if isinstance(value, (dict, list)):
        children = value.items() if isinstance(value, dict) else enumerate(value)
        done = {key: substitute_env(child, env) for key, child in children}
        unset = next((name for _, name in done.values() if name is not None), None)
        filled = {key: child for key, (child, _) in done.items()}
        return (filled if isinstance(value, dict) else list(filled.values())), unset
    if not isinstance(value, str) or "${env." not in value:
        return value, None
    whole = _VARIABLE.fullmatch(value)
    if not whole:
        raise ValueError("expected `${env.NAME}` to be the whole value")
    found = env.get(whole[1])
    return (found, None) if found else (None, whole[1])
