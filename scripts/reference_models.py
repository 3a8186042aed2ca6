"""The page of all keys of models.yaml, from the pydantic models that read it.

The page follows the models: nested entries become sections, and a key's meaning is its `Field(description=...)` or the
docstring below it. Docstrings are read from the source here, because pydantic's `use_attribute_docstrings` parses the
source at every start of the server, which costs 50 ms.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo
from reference_markdown import anchor, code, sentence, table

from router.config.models import ModelsFile
from router.policy import POLICIES

HIDDEN_KEYS = frozenset({"name", "place", "adapter_of"})
"""fields of a model that the reader of models.yaml fills in"""
EXTRA_KEYS = {
    "Price": ("bundled", "text", "none", "The name of a bundled price, which `smallfirst prices` lists. It replaces "
              "all other keys of the price."),
}  # fmt: skip
"""keys that are resolved before pydantic sees them, by the class of the mapping: key, type, default, meaning"""

SCALARS: Mapping[object, str] = {
    str: "text",
    SecretStr: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    date: "date",
    Any: "anything",
}
LIMITS = {"gt": "more than {}", "ge": "at least {}", "lt": "less than {}", "le": "at most {}"}


def models_page() -> str:
    """Return the page without its title."""
    parts = []
    for path, entry in _sections("", ModelsFile):
        parts += [f"## {_heading(path)}", _intro(entry), _keys(path, entry)]
    for name, options in policy_options().items():
        path = f"routes.NAME, policy {name}"
        parts += [f"## {_heading(path)}", _intro(options), _keys(path, options)]
        for inner, entry in _sections(path, options):
            if inner != path:
                parts += [f"## {_heading(inner)}", _intro(entry), _keys(inner, entry)]
    return "\n\n".join(part for part in parts if part)


def policy_options() -> dict[str, type[BaseModel]]:
    """Return the class of each policy's own keys, by the policy's name."""
    return {name: policy.Options for name, policy in sorted(POLICIES.items()) if policy.Options.model_fields}


def _sections(path: str, entry: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, entry
    for key, field in entry.model_fields.items():
        for suffix, nested in _nested(field.annotation):
            yield from _sections(f"{path}.{key}{suffix}".lstrip("."), nested)


def _nested(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the mappings within a type, each with what its path adds to the key's."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
        return
    origin, inner = get_origin(annotation), get_args(annotation)
    suffix = ".NAME" if origin is dict else "[]" if origin in (tuple, frozenset, list) else ""
    for part in inner[:1] if origin is Annotated else inner:
        for rest, nested in _nested(part):
            yield suffix + rest, nested


def _heading(path: str) -> str:
    return path or "The file"


def _intro(entry: type[BaseModel]) -> str:
    return "\n\n".join(sentence(part) for part in inspect.cleandoc(entry.__doc__ or "").split("\n\n"))


def _keys(path: str, entry: type[BaseModel]) -> str:
    rows = []
    for key, field in entry.model_fields.items():
        if key in HIDDEN_KEYS:
            continue
        kind = _type(field.annotation, field.metadata)
        for suffix, _ in _nested(field.annotation):
            place = f"{path}.{key}{suffix}".lstrip(".")
            kind += f", see [{place}](#{anchor(_heading(place))})"
        rows.append((code(key), kind, _default(entry, field), sentence(_meaning(entry, key, field))))
    if extra := EXTRA_KEYS.get(entry.__name__):
        key, kind, default, meaning = extra
        rows.append((code(key), kind, default, meaning))
    return table(("Key", "Type", "Default", "Meaning"), rows)


def _type(annotation: Any, metadata: list[Any]) -> str:
    """Return a type in words, with its limits."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0], [*inner[1:], *metadata])
    limits = _limits(metadata)
    if origin in (Union, UnionType):
        words = " or ".join(_type(part, []) for part in inner if part is not NoneType)
    elif origin is Literal:
        words = " or ".join(map(code, inner))
    elif origin in (tuple, frozenset, list):
        item = _type(inner[0], [])
        words = f"{item} or list" if _takes_one(metadata) else f"list of {f'({item})' if ' ' in item else item}"
    elif origin is dict:
        words = f"mapping of name to {_type(inner[1], [])}"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        words = "mapping"
    else:
        words = SCALARS.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return ", ".join([words, *limits])


def _takes_one(metadata: list[Any]) -> bool:
    """Return whether a list may also be written as its only item."""
    for item in metadata:
        if isinstance(item, BeforeValidator):
            try:
                if isinstance(item.func("x"), tuple):  # type: ignore[call-arg]
                    return True
            except ValueError:
                continue
    return False


def _limits(metadata: list[Any]) -> list[str]:
    found = []
    for item in metadata:
        if isinstance(item, FieldInfo):
            found += _limits(item.metadata)
            continue
        found += [words.format(f"{getattr(item, name):,}") for name, words in LIMITS.items() if hasattr(item, name)]
        if getattr(item, "min_length", None) and "not empty" not in found:
            found.append("not empty")
        if getattr(item, "pattern", None):
            found.append(f"matching {code(item.pattern)}")
    return found


def _default(entry: type[BaseModel], field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is None:
        return _value(field.default)
    if not field.default_factory_takes_validated_data:
        return _value(field.default_factory())  # type: ignore[call-arg]
    return _dependent_default(entry, field.default_factory)


def _dependent_default(entry: type[BaseModel], factory: Callable[..., object]) -> str:
    """Return the defaults of a key whose default depends on another key that has a few fixed values."""
    for other, field in entry.model_fields.items():
        if get_origin(field.annotation) is Literal:
            values = {choice: _value(factory({other: choice})) for choice in get_args(field.annotation)}
            if len(set(values.values())) > 1:
                return "; ".join(f"for {code(f'{other}: {choice}')}: {value}" for choice, value in values.items())
    return "depends on other keys"


def _value(value: object) -> str:
    match value:
        case None:
            return "none"
        case BaseModel():
            return "all defaults"
        case frozenset():
            return _value(sorted(value))
        case str() | bool():
            return code(json.dumps(value).strip('"'))
        case int() | float():
            return code(f"{value:,}")
        case () | [] | {}:
            return "empty"
        case tuple() | list():
            return code(json.dumps(list(value)).replace('"', ""))
    return code(value)


def _meaning(entry: type[BaseModel], key: str, field: FieldInfo) -> str:
    if field.description:
        return field.description
    return next((found for owner in entry.__mro__ if (found := _docstrings(owner).get(key))), "")


@cache
def _docstrings(owner: type) -> Mapping[str, str]:
    """Return the docstrings below the attributes of a class."""
    if owner.__module__.partition(".")[0] in ("builtins", "pydantic"):
        return {}
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101
    found = {}
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            found[statement.target.id] = inspect.cleandoc(following.value.value)
    return found
