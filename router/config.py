"""models.yaml -> frozen objects. The only reader of that file.

What the keys mean to a user stands in the README; here stands what is accepted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from router.errors import ConfigError
from router.types import Ability, Engine, PolicyName, Tier
from router.yamlfile import KeyPath, YamlFile, dotted, substitute_env

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$")]

NOT_BUILT = {
    "guarantee": "the guarantee comes with `policy: cascade`, which is not built yet",
    "prefill": "continuing an answer on another upstream is not built yet",
}


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else _as_tuple(value)


def _set_of_words(value: object) -> object:
    if not isinstance(value, list):
        return value
    unknown = [word for word in value if word not in get_args(Ability)]
    if unknown:
        raise ValueError(f"unknown ability {unknown[0]!r}; expected some of {', '.join(get_args(Ability))}")
    return frozenset(value)


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:  # .port raises over 65535
        raise ValueError("expected a URL such as http://host:8000/v1")
    if parts.query or parts.fragment or parts.username:
        raise ValueError("expected a URL without user, query or fragment")
    return value.rstrip("/")


def _header_value(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("expected a key of visible ASCII characters, without spaces or line ends")
    return value


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Price(_Frozen):
    """US dollars: either an hour of one replica, or a million tokens of each kind."""

    replica_hour_usd: Usd | None = None
    input_usd_per_mtok: Usd | None = None
    cached_input_usd_per_mtok: Usd | None = None
    output_usd_per_mtok: Usd | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Price:
        per_token = self.input_usd_per_mtok is not None and self.output_usd_per_mtok is not None
        any_token = (
            per_token
            or self.cached_input_usd_per_mtok is not None
            or (self.input_usd_per_mtok is not None or self.output_usd_per_mtok is not None)
        )
        if (self.replica_hour_usd is not None) == any_token or (any_token and not per_token):
            raise ValueError(
                "expected either `replica_hour_usd` alone, or `input_usd_per_mtok` and `output_usd_per_mtok` "
                "(and `cached_input_usd_per_mtok` where cached input is cheaper)"
            )
        return self


class Timeouts(_Frozen):
    """Seconds. `first_byte_s` and `idle_s` hold for streams and count events; a whole answer has the others."""

    connect_s: Positive = 5.0
    first_byte_s: Positive = 60.0
    idle_s: Positive = 60.0
    total_s: Positive = 600.0


class Requires(_Frozen):
    """What the machine must have for the entry to be used; else it is left out, with one line that says so."""

    gpu: bool


class Model(_Frozen):
    """One served model: managed (`source`: we start vLLM) or attached (`base_url`: someone else runs it)."""

    name: Name
    tier: Tier
    engine: Engine
    source: str | None = Field(None, min_length=1)
    base_url: Annotated[tuple[Annotated[str, AfterValidator(_http_url)], ...], BeforeValidator(_one_or_many)] = ()
    api_key: Annotated[SecretStr, AfterValidator(_header_value)] | None = None
    required: bool = False
    requires: Requires | None = None
    upstream_model: str | None = Field(None, min_length=1)
    replicas: int = Field(1, ge=1, le=64)
    gpus: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_as_tuple)] = ()
    context: int | None = Field(None, ge=1)
    vllm_args: dict[str, Any] = Field(default_factory=dict)
    abilities: Annotated[frozenset[Ability], BeforeValidator(_set_of_words)] = frozenset(
        {"tools", "structured", "logprobs"}
    )
    price: Price | None = None
    timeouts: Timeouts = Timeouts()

    @property
    def managed(self) -> bool:
        """Return whether we start and supervise this model's vLLM ourselves."""
        return self.source is not None

    @property
    def upstream_name(self) -> str:
        """Return the name by which the upstream knows the model."""
        return self.upstream_model or self.name

    @model_validator(mode="after")
    def _managed_or_attached(self) -> Model:
        if self.managed == bool(self.base_url):
            raise ValueError("expected exactly one of `source` (we start vLLM) and `base_url` (someone else does)")
        if self.managed and self.engine != "vllm":
            raise ValueError("`source` needs `engine: vllm`: only vLLM is started by us")
        if len(set(self.base_url)) < len(self.base_url):
            raise ValueError("a URL of `base_url` stands twice; each is one replica")
        given = self.model_fields_set
        if not self.managed:
            for key in sorted({"replicas", "gpus", "vllm_args"} & given):
                raise ValueError(f"`{key}` belongs to a model that we start (`source`), not to a `base_url`")
        if self.managed:
            for key in sorted({"api_key", "upstream_model", "required"} & given):
                raise ValueError(f"`{key}` belongs to a `base_url`, not to a model that we start")
        return self


class RouteEntry(_Frozen):
    """A route as written: a ladder of model names, cheapest first; the last is the fallback."""

    ladder: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    policy: PolicyName = "fixed"
    threshold: float = Field(0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _threshold_has_a_use(self) -> RouteEntry:
        if "threshold" in self.model_fields_set and self.policy != "heuristic":
            raise ValueError("`threshold` is read by `policy: heuristic` only")
        return self


class _File(_Frozen):
    models: dict[str, Model] = Field(min_length=1)
    routes: dict[Name, RouteEntry] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """A route as it runs: only models that are there. `reference` prices what the fallback would have cost.

    The reference is the last model of the ladder as written, also where it is left out (no key): so a user
    without a key sees what the small model saves. None: a pinned model, or a fallback without a price.
    """

    name: str
    ladder: tuple[Model, ...]
    policy: PolicyName = "fixed"
    threshold: float = 0.5
    reference: Price | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """All of models.yaml. `left_out` maps a model that cannot be used here to the one line that says why."""

    models: Mapping[str, Model]
    routes: Mapping[str, Route]
    left_out: Mapping[str, str]

    def route(self, name: str) -> Route | None:
        """Return the route of that name; a model's name is a route of one rung (pinned). None: unknown."""
        if found := self.routes.get(name):
            return found
        model = self.models.get(name)
        return Route(name, (model,), reference=model.price) if model else None


def load(path: Path, env: Mapping[str, str], *, gpu: bool) -> Config:
    """Read models.yaml for a machine with or without a GPU.

    Raises:
        ConfigError: with one line per fault: file, line, key, and what was expected.
    """
    file = YamlFile(path)
    if not isinstance(file.data, dict):
        raise ConfigError(f"{path}: expected a mapping with `models` and `routes`, got {_kind(file.data)}")
    data, left_out = _prepare(file, env, gpu)
    try:
        entries = _File.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(file, fault) for fault in error.errors())) from None
    models = {name: model for name, model in entries.models.items() if name not in left_out}
    if not models:
        reasons = "".join(f"\n  {line}" for line in left_out.values())
        raise ConfigError(f"{path}: models: every model is left out:{reasons}")
    routes = {name: _route(file, name, entry, entries.models, left_out) for name, entry in entries.routes.items()}
    return Config(models, routes, left_out)


def _prepare(file: YamlFile, env: Mapping[str, str], gpu: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Give each model its name, put in environment variables, and find the models that cannot be used here."""
    data = dict(file.data)
    left_out: dict[str, str] = {}
    if not isinstance(data.get("models"), dict):
        return data, left_out
    models: dict[str, Any] = {}
    for name, entry in data["models"].items():
        if not isinstance(entry, dict):
            models[name] = entry
            continue
        if "name" in entry:
            where = file.where(("models", name, "name"))
            raise ConfigError(f"{where}: models.{name}.name: unknown key: a model's name is its key")
        filled = {"name": name}
        for key, value in entry.items():
            where = f"{file.where(('models', name, key))}: models.{name}.{key}"
            try:
                filled[key], unset = substitute_env(value, env)
            except ValueError as error:
                raise ConfigError(f"{where}: {error}") from None
            if unset is None:
                continue
            if key != "api_key" or entry.get("required") is True:
                raise ConfigError(f"{where}: the environment variable {unset} is not set")
            left_out[name] = f"{name} is left out: the environment variable {unset} is not set ({where})"
        wanted = entry.get("requires")
        if isinstance(wanted, dict) and isinstance(wanted.get("gpu"), bool) and wanted["gpu"] != gpu:
            has = "has a GPU" if gpu else "has no GPU"
            left_out[name] = f"{name} is left out: it requires gpu: {str(wanted['gpu']).lower()}, this machine {has}"
        if isinstance(filled.get("api_key"), str):
            filled["api_key"] = SecretStr(filled["api_key"])
        models[name] = filled
    data["models"] = models
    return data, left_out


def _route(
    file: YamlFile, name: str, entry: RouteEntry, models: Mapping[str, Model], left_out: Mapping[str, str]
) -> Route:
    at: KeyPath = ("routes", name)
    if name in models:
        raise ConfigError(f"{file.where(at)}: routes.{name}: a model has the same name; clients could mean either")
    for i, model in enumerate(entry.ladder):
        where = f"{file.where((*at, 'ladder', i))}: routes.{name}.ladder[{i}]"
        if model not in models:
            raise ConfigError(f"{where}: unknown model {model!r}{_meant(model, models)}")
        if model in entry.ladder[:i]:
            raise ConfigError(f"{where}: {model!r} stands in the ladder twice")
    ladder = tuple(models[model] for model in entry.ladder if model not in left_out)
    if not ladder:
        raise ConfigError(f"{file.where(at)}: routes.{name}: every model of its ladder is left out")
    return Route(name, ladder, entry.policy, entry.threshold, models[entry.ladder[-1]].price)


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
    "string_pattern_mismatch": "expected a name: at most 128 letters, digits and . _ : / -, no sign first",
    "missing": "missing; the key is required",
}


def _explain(file: YamlFile, fault: Any) -> str:
    key: KeyPath = tuple(part for part in fault["loc"] if part != "[key]")
    if key[0] == "models" and key[2:] == ("name",):  # which _prepare put there
        key = key[:2]
    message = _EXPECTED.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "expected")
    value = _value(file.data, key)
    if fault["type"] == "extra_forbidden":
        known = _known_keys(key)
        message = NOT_BUILT.get(str(key[-1])) or (
            f"unknown key{_meant(str(key[-1]), known)}; expected one of {', '.join(known)}"
        )
    elif isinstance(value, (str, int, float)) and not {"api_key", "base_url"} & set(key):  # which may hold secrets
        message += f", got {str(value)[:60]!r}" if isinstance(value, str) else f", got {value}"
    if key[-1] == "policy" and value in ("classifier", "cascade"):
        message += " (that policy is not built yet)"
    if "ladder" in key and isinstance(value, list) and isinstance(key[-1], int):
        message += " (experts side by side are not built yet)"
    return f"{file.where(key)}: {dotted(key)}: {message}"


def _value(data: Any, key: KeyPath) -> Any:
    """Return what stands in the file at a key; None: nothing."""
    for part in key:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part]
        else:
            return None
    return data


def _known_keys(key: KeyPath) -> list[str]:
    owner: dict[str, type[BaseModel]] = {"price": Price, "timeouts": Timeouts, "requires": Requires}
    if len(key) == 1:
        schema: type[BaseModel] = _File
    elif key[0] == "routes":
        schema = RouteEntry
    else:
        schema = owner.get(str(key[2]), Model) if len(key) > 3 else Model
    return sorted(set(schema.model_fields) - {"name"})


def _meant(word: str, known: Mapping[str, Any] | list[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _kind(value: object) -> Literal["nothing", "a list", "a scalar"]:
    return "nothing" if value is None else "a list" if isinstance(value, list) else "a scalar"
