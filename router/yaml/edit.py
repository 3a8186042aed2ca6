"""Adds to the text of a YAML file, and leaves every other character as it is: comments, order, quotes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import yaml


class CannotEdit(ValueError):
    """The text has a form that this module does not change."""


def add_entry(text: str, section: str, name: str, body: Sequence[str]) -> str:
    """Return the text with one more entry at the end of a top-level mapping: `name:`, and the lines of `body` below it.

    Raises:
        CannotEdit: there is no such mapping, or it is not written one key a line.
    """
    mapping = _find(text, (section,))
    if not isinstance(mapping, yaml.MappingNode) or mapping.flow_style or not mapping.value:
        raise CannotEdit(f"`{section}` is not a mapping with each key on its own line")
    first_key, first_value = mapping.value[0]
    indent, step = first_key.start_mark.column, 2
    if isinstance(first_value, yaml.MappingNode) and not first_value.flow_style and first_value.value:
        step = first_value.value[0][0].start_mark.column - indent
    lines = text.splitlines(keepends=True)
    end = _end_of(mapping, lines, indent)
    new = [" " * indent + f"{plain(name)}:", *(" " * (indent + step) + line for line in body)]
    if any(not line.strip() for line in lines[first_key.start_mark.line : end]):
        new.insert(0, "")  # as between the others
    return _with_lines(lines, end, new)


def add_item(text: str, path: Sequence[str], index: int, item: str) -> str:
    """Return the text with one more item in a list, which then has this index.

    Raises:
        CannotEdit: there is no such list, or it is empty.
    """
    items = _find(text, path)
    if not isinstance(items, yaml.SequenceNode) or not items.value:
        raise CannotEdit(f"`{'.'.join(path)}` is not a list")
    at_end = index == len(items.value)
    neighbour = items.value[index - 1 if at_end else index]
    if items.flow_style:
        at = neighbour.end_mark.index if at_end else neighbour.start_mark.index
        return text[:at] + (f", {plain(item)}" if at_end else f"{plain(item)}, ") + text[at:]
    lines = text.splitlines(keepends=True)
    dash = lines[neighbour.start_mark.line][: neighbour.start_mark.column].rindex("-")
    before = items.value[index - 1] if index else None
    if before is not None and (isinstance(before, yaml.ScalarNode) or before.flow_style):
        line = before.end_mark.line + 1
    else:
        line = _end_of(items, lines, dash) if at_end else neighbour.start_mark.line
    return _with_lines(lines, line, [" " * dash + f"- {plain(item)}"])


def plain(text: str) -> str:
    """Return a text as a scalar, quoted if YAML would read something else."""
    try:
        unquoted = yaml.safe_load(f"[{text}]") == [text]
    except yaml.YAMLError:
        unquoted = False
    return text if unquoted else yaml.safe_dump(text, default_style='"', width=10_000).strip()


def _find(text: str, path: Sequence[str]) -> yaml.Node | None:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for part in path:
        if not isinstance(node, yaml.MappingNode):
            return None
        node = next((value for key, value in node.value if key.value == part), None)
    return node


def _end_of(node: yaml.Node, lines: Sequence[str], indent: int) -> int:
    """Return the line after a block. Blank lines, and comments further left than the block, are not part of it."""
    end = node.end_mark.line + (node.end_mark.column > 0)
    while end > node.start_mark.line + 1:
        line = lines[end - 1]
        bare = line.lstrip(" ")
        if bare.strip() and not (bare.startswith("#") and len(line) - len(bare) < indent):
            break
        end -= 1
    return end


def _with_lines(lines: Sequence[str], at: int, new: Sequence[str]) -> str:
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    before = "".join(lines[:at])
    if before and not before.endswith("\n"):
        before += newline
    return before + "".join(line + newline for line in new) + "".join(lines[at:])
