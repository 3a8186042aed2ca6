"""YAML with positions: which line a key stands on, and no key twice."""

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
_KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")  # a bare 7 is a number, a bare yes is true


class _DatesAsText(yaml.SafeLoader):
    """Leaves a date the text that it is: whoever wants one can say what was expected."""


_DatesAsText.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class YamlDocument:
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
            self.data: Any = yaml.load(text, Loader=_DatesAsText)  # noqa: S506 (it is a SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = f"{path}:{mark.line + 1}" if mark else str(path)
            raise ConfigError(f"{where}: not valid YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
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
        if len(self._lines) > MAX_ENTRIES:
            raise ConfigError(f"{self.path}: more than {MAX_ENTRIES} entries, aliases counted")
        if id(node) in seen:
            raise ConfigError(f"{self.path}:{node.start_mark.line + 1}: an alias refers to itself")
        seen |= {id(node)}
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.tag not in _KEY_TAGS:
                    name = dotted((*at, str(key.value)))
                    raise ConfigError(f"{self.path}:{line}: {name}: to YAML this key is no text; put it in quotes")
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


def substitute_env(value: Any, env: Mapping[str, str]) -> tuple[Any, str | None]:
    """Replace each string `${env.NAME}`, also inside of lists and mappings; return the first name that is unset.

    Raises:
        ValueError: a variable is only a part of a string.
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
