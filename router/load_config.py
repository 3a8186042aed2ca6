"""Read models.yaml. Every error names file, line, key and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from router.catalogue import resolve
from router.config import price_list
from router.config.adapters import with_adapters
from router.config.model_options import Requires, Timeouts, TransformersArgs
from router.config.models import Config, Model, ModelsFile, Route, RouteEntry
from router.config.swap import SwapGroup, swap_faults
from router.errors import ConfigError
from router.messages.words import one_of
from router.money.price import Price, PromptTier, ServiceTier
from router.policy import POLICIES
from router.policy.base import PolicyOptions
from router.upstream.dialects import DIALECTS
from router.yaml.document import KeyPath, YamlDocument, dotted, substitute_env


def load(path: Path, env: Mapping[str, str], *, gpu: bool) -> Config:
    """Read models.yaml for a machine with or without a GPU.

    Raises:
        ConfigError: the file is invalid. The message has one line per fault: file, line, key, what was expected.
    """
    file = YamlDocument(path)
    if not isinstance(file.data, dict):
        raise ConfigError(f"{path}: expected a mapping with `models` and `routes`, got {_yaml_type(file.data)}")
    data, left_out = _prepare(file, env, gpu)
    faults: list[Any] = []
    entries: ModelsFile | None = None
    try:
        entries = ModelsFile.model_validate(data)
    except ValidationError as error:
        faults += [fault for fault in error.errors() if fault["type"] not in _CONSEQUENT_FAULTS]
    faults += _engine_faults(data)
    faults += (_fault(at, message) for at, message in swap_faults(data))
    options = _all_options(data, path.parent, faults)
    if faults or entries is None:
        raise ConfigError("\n".join(_explain(file, fault) for fault in faults))
    written = with_adapters(file, entries.models, left_out)
    models = {name: model for name, model in written.items() if name not in left_out}
    if not models:
        reasons = "".join(f"\n  {line}" for line in left_out.values())
        raise ConfigError(f"{path}: models: every model is left out:{reasons}")
    routes = {}
    for name, entry in entries.routes.items():
        rungs = _rungs(file, name, entry, written, left_out)
        fallback = written[entry.ladder[-1][0]]
        routes[name] = Route(name, rungs, fallback, entry.policy, options[name])
    return Config(models, routes, left_out, written, entries.swap)


def _engine_faults(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the faults that depend on the dialect of a model."""
    models = data.get("models")
    for name, entry in models.items() if isinstance(models, dict) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("engine"), str):
            continue
        at: KeyPath = ("models", name)
        if (dialect := DIALECTS.get(entry["engine"])) is None:
            yield _fault((*at, "engine"), f"expected {one_of(DIALECTS)}")
            continue
        if entry.get("source") is not None and not dialect.can_be_started:
            startable = " or ".join(f"`engine: {other.name}`" for other in DIALECTS.values() if other.can_be_started)
            yield _fault(at, f"`source` needs {startable}: smallfirst cannot start other engines")
        if entry.get("base_url") is not None and not dialect.can_be_attached:
            yield _fault(
                at, f"`engine: {dialect.name}` needs `source`; write `engine: openai` for a server that already runs"
            )
        for other in DIALECTS.values():
            if (key := other.arguments_key) and key in entry and key != dialect.arguments_key:
                instead = f"; write `{dialect.arguments_key}`" if dialect.arguments_key else ""
                yield _fault(at, f"`{key}` is only for `engine: {other.name}`{instead}")
        if entry.get("structured_backend") is not None and not dialect.has_structured_backend:
            owners = " or ".join(other.name for other in DIALECTS.values() if other.has_structured_backend)
            yield _fault(at, f"`structured_backend` is only for `engine: {owners}`")
        if entry.get("adapters") is not None and not dialect.loads_adapters:
            owners = " or ".join(other.name for other in DIALECTS.values() if other.loads_adapters)
            yield _fault((*at, "adapters"), f"`adapters` need `engine: {owners}`")
        if entry.get("context") is None and not dialect.refuses_long_prompts:
            yield _fault(at, f"`engine: {dialect.name}` needs `context`: such a server does not refuse longer prompts")


def _all_options(data: Mapping[str, Any], folder: Path, faults: list[Any]) -> dict[str, PolicyOptions]:
    """Return the policy options of each route. Faults in them are added to `faults`."""
    routes = data.get("routes")
    options: dict[str, PolicyOptions] = {}
    for name, entry in routes.items() if isinstance(routes, dict) else ():
        if not isinstance(entry, dict):
            continue
        at, named = ("routes", name), entry.get("policy", "fixed")
        if not isinstance(named, str):
            continue
        if (policy := POLICIES.get(named)) is None:
            faults.append(_fault((*at, "policy"), f"expected {one_of(POLICIES)}"))
            continue
        written = {key: value for key, value in entry.items() if key not in RouteEntry.model_fields}
        for key in sorted(written.keys() - policy.Options.model_fields):
            if readers := [other.name for other in POLICIES.values() if key in other.Options.model_fields]:
                del written[key]
                faults.append(_fault(at, f"`{key}` is read by `policy: {'` and `'.join(readers)}` only"))
        try:
            options[name] = policy.Options.model_validate(written, context={"folder": folder})
        except ValidationError as error:
            faults += [{**fault, "loc": (*at, *fault["loc"])} for fault in error.errors()]
    return options


def _fault(at: KeyPath, message: str) -> dict[str, Any]:
    return {"type": "value_error", "loc": at, "msg": message}


def _prepare(file: YamlDocument, env: Mapping[str, str], gpu: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Add names and what the catalogue says, replace environment variables, and find the models that cannot be used
    on this machine."""
    data = dict(file.data)
    left_out: dict[str, str] = {}
    if not isinstance(data.get("models"), dict):
        return data, left_out
    models: dict[str, Any] = {}
    for name, entry in data["models"].items():
        if not isinstance(entry, dict):
            models[name] = entry
            continue
        for key in _INTERNAL_FIELDS.keys() & entry.keys():
            where = file.where(("models", name, key))
            raise ConfigError(f"{where}: models.{name}.{key}: unknown key: {_INTERNAL_FIELDS[key]}")
        filled = {"name": name, "place": f"{file.where(('models', name))}: models.{name}"}
        for key, value in entry.items():
            where = f"{file.where(('models', name, key))}: models.{name}.{key}"
            try:
                filled[key], unset = substitute_env(value, env)
                if key == "price":
                    filled[key] = price_list.resolve(filled[key])
            except ValueError as error:
                raise ConfigError(f"{where}: {error}") from None
            if unset is None:
                continue
            if key not in ("api_key", "headers") or entry.get("required") is True:
                raise ConfigError(f"{where}: the environment variable {unset} is not set")
            filled[key] = {} if key == "headers" else None
            left_out[name] = f"{name} is left out: the environment variable {unset} is not set ({where})"
        if (named_by := resolve.catalogue_key(filled)) is not None:
            try:
                filled = resolve.fill(filled)
            except ValueError as error:
                where = f"{file.where(('models', name, named_by))}: models.{name}.{named_by}"
                raise ConfigError(f"{where}: {error}") from None
        wanted = entry.get("requires")
        if isinstance(wanted, dict) and isinstance(wanted.get("gpu"), bool) and wanted["gpu"] != gpu:
            has = "has a GPU" if gpu else "has no GPU"
            left_out[name] = (
                f"{name} is left out: it requires gpu: {str(wanted['gpu']).lower()}, but this machine {has}"
            )
        if (dialect := DIALECTS.get(str(filled.get("engine")))) is not None:
            filled.setdefault("abilities", sorted(dialect.abilities))
        if isinstance(filled.get("api_key"), str):
            filled["api_key"] = SecretStr(filled["api_key"])
        models[name] = filled
    data["models"] = models
    return data, left_out


def _rungs(
    file: YamlDocument, name: str, entry: RouteEntry, models: Mapping[str, Model], left_out: Mapping[str, str]
) -> tuple[tuple[Model, ...], ...]:
    at: KeyPath = ("routes", name)
    if name in models:
        raise ConfigError(f"{file.where(at)}: routes.{name}: a model has the same name; clients could mean either")
    named: set[str] = set()
    for i, rung in enumerate(entry.ladder):
        where = f"{file.where((*at, 'ladder', i))}: routes.{name}.ladder[{i}]"
        for model in rung:
            if model not in models:
                known = _suggestion(model, models) or f"; expected one of {', '.join(models)}"
                raise ConfigError(f"{where}: unknown model {model!r}{known}")
            if model in named:
                raise ConfigError(f"{where}: {model!r} is in the ladder twice")
            named.add(model)
        if len({models[model].tier for model in rung}) > 1:
            raise ConfigError(f"{where}: the models of one rung must have the same tier")
    if len(entry.ladder[-1]) > 1:
        raise ConfigError(f"{where}: the last rung is the fallback: expected one model, got several")
    rungs = tuple(
        here for rung in entry.ladder if (here := tuple(models[model] for model in rung if model not in left_out))
    )
    if not rungs:
        raise ConfigError(f"{file.where(at)}: routes.{name}: every model of its ladder is left out")
    return rungs


_INTERNAL_FIELDS = {  # fields of a model that are not keys of models.yaml
    "name": "the name of a model is its key in `models`",
    "place": "the name of a model is its key in `models`",
    "adapter_of": "an adapter is written in `adapters` of its model",
}
_MAY_BE_SECRET = {"api_key", "base_url", "headers"}
_CONSEQUENT_FAULTS = {"default_factory_not_called"}  # consequences of another fault, which is reported
_EXPECTED = {
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "tuple_type": "expected a list",
    "frozen_set_type": "expected a list",
    "too_short": "expected at least one entry",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "string_too_short": "expected text that is not empty",
    "string_pattern_mismatch": (
        "expected a name: at most 128 letters, digits and . _ : / -, starting with a letter or digit"
    ),
    "missing": "missing; the key is required",
}


def _explain(file: YamlDocument, fault: Any) -> str:
    key: KeyPath = tuple(part for part in fault["loc"] if part != "[key]")
    if key[0] == "models" and key[2:] == ("name",):  # _prepare added it
        key = key[:2]
    message = _EXPECTED.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "expected")
    value = key[-1] if fault["loc"][-1] == "[key]" else _value_at(file.data, key)
    if fault["type"] == "extra_forbidden":
        known = _known_keys(key, file)
        message = (
            f"unknown key{_suggestion(str(key[-1]), [*known, *_keys_of_other_policies(key)])}; "
            f"expected one of {', '.join(known)}"
        )
    elif isinstance(value, (str, int, float)) and not _MAY_BE_SECRET & set(key):
        message += f", got {str(value)[:60]!r}" if isinstance(value, str) else f", got {value}"
    return f"{file.where(key)}: {dotted(key)}: {message}"


def _value_at(data: Any, key: KeyPath) -> Any:
    """Return the value at a key of the file, or None if there is none."""
    for part in key:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part]
        else:
            return None
    return data


def _known_keys(key: KeyPath, file: YamlDocument) -> list[str]:
    if len(key) == 1:
        return sorted(ModelsFile.model_fields)
    if key[0] == "routes":
        policy = POLICIES[_value_at(file.data, (*key[:2], "policy")) or "fixed"]
        schema: type[BaseModel] = policy.Options
        for part in key[2:-1]:
            schema = _nested(schema, str(part)) or schema
        return sorted({*schema.model_fields, *(RouteEntry.model_fields if schema is policy.Options else ())})
    if key[0] == "swap":
        return sorted(SwapGroup.model_fields)
    owner: dict[str, type[BaseModel]] = {
        "price": PromptTier if "tiers" in key[3:] else ServiceTier if "service_tiers" in key[3:-1] else Price,
        "timeouts": Timeouts,
        "requires": Requires,
        "transformers_args": TransformersArgs,
    }
    schema = owner.get(str(key[2]), Model) if len(key) > 3 else Model
    also = {"bundled"} if schema is Price else set()
    return sorted((set(schema.model_fields) | also) - _INTERNAL_FIELDS.keys())


def _keys_of_other_policies(key: KeyPath) -> Iterator[str]:
    if key[0] == "routes" and len(key) == 3:
        for policy in POLICIES.values():
            yield from policy.Options.model_fields


def _nested(schema: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Return the schema of the mapping under a key, or None if the key has no mapping."""
    field = schema.model_fields.get(key)
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _suggestion(word: str, known: Mapping[str, Any] | list[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _yaml_type(value: object) -> Literal["nothing", "a list", "a scalar"]:
    return "nothing" if value is None else "a list" if isinstance(value, list) else "a scalar"
