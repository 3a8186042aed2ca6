"""What models.yaml says, as frozen objects. `load_config` reads it.

docs/reference/models-yaml.md is made from this file: a docstring below a key is its meaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from router.errors import NotFound
from router.money.price import Price
from router.types import Ability, Backend, Tier
from router.yaml.entry import Entry, as_tuple

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _not_none(value: str) -> str:
    if value == "none":
        raise ValueError("`none` is reserved; choose another name")
    return value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"), AfterValidator(_not_none)]


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else as_tuple(value)


def _set_of_words(value: object) -> object:
    if not isinstance(value, list):
        return value
    unknown = [word for word in value if word not in get_args(Ability)]
    if unknown:
        raise ValueError(f"unknown ability {unknown[0]!r}; expected some of {', '.join(get_args(Ability))}")
    return frozenset(value)


def _http_url(value: str) -> str:
    if not re.fullmatch(r"[!-~]+", value) or set(value) & set('\\"<>^`{|}'):
        raise ValueError("URL contains invalid characters; expected one such as http://host:8000/v1")
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:  # .port raises over 65535
        raise ValueError("expected a URL such as http://host:8000/v1")
    if set(value) & set("@?#"):
        raise ValueError("expected a URL without user, query or fragment")
    return value.rstrip("/")


def _header_value(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
        raise ValueError("expected a key of visible ASCII characters, without spaces or line ends")
    if value.get_secret_value().startswith("$"):
        raise ValueError("expected ${env.NAME}, or the key itself")
    return value


class Timeouts(Entry):
    """Seconds. `first_byte_s` and `idle_s` hold for streams and count events; a whole answer has the others."""

    connect_s: Positive = 5.0
    """seconds to connect to the replica"""
    first_byte_s: Positive = 60.0
    """seconds from the request to a stream's first event"""
    idle_s: Positive = 60.0
    """seconds between two events of a stream"""
    total_s: Positive = 300.0
    """seconds for the whole answer, streamed or not"""


class Requires(Entry):
    """What the machine must have. If it does not, the model is left out, and one line says so."""

    gpu: bool
    """whether the machine has an NVIDIA GPU"""


class Model(Entry):
    """One served model: managed (`source`: we start vLLM) or attached (`base_url`: someone else runs it)."""

    name: Name
    place: str = ""
    """`file:line: key` of the entry; like the name, put in by who reads the file"""
    tier: Tier
    """`slm`: a small model; `llm`: a large one"""
    engine: str
    """the dialect that its upstream speaks: `vllm` takes vLLM's own parameters, `openai` is any other server"""
    source: str | None = Field(None, min_length=1)
    """weights that smallfirst serves with its own vLLM: a hub id, a folder, or a file in a Python package"""
    base_url: Annotated[tuple[Annotated[str, AfterValidator(_http_url)], ...], BeforeValidator(_one_or_many)] = ()
    """the API of an upstream that someone else runs, `http://host:port/v1`; of several, each is one replica"""
    api_key: Annotated[SecretStr, AfterValidator(_header_value)] | None = None
    """sent to the upstream as a bearer token; with `${env.NAME}` unset, the model is left out"""
    required: bool = False
    """refuse to start without the `api_key`, instead of leaving the model out"""
    requires: Requires | None = None
    """what the machine must have; otherwise the model is left out"""
    upstream_model: str | None = Field(None, min_length=1)
    """the name by which the upstream knows the model; default: the model's own name"""
    replicas: int = Field(1, ge=1, le=64)
    """vLLM processes to start"""
    gpus: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple)] = ()
    """the GPUs of the replicas, by index; default: all that are visible"""
    context: int | None = Field(None, ge=1)
    """tokens of prompt and answer together; a longer prompt goes to the next rung unsent"""
    vllm_args: dict[str, Any] = Field(default_factory=dict)
    """vLLM's own options, by their names: `{dtype: float32}` becomes `--dtype float32`"""
    structured_backend: Backend | None = None
    """what an attached vLLM constrains decoding with; without it, formats are held back until checked"""
    abilities: Annotated[frozenset[Ability], BeforeValidator(_set_of_words)] = frozenset()
    """what the model can do; requests that need more go to the next rung"""
    price: Price | None = None
    """what it costs; without a price, costs and savings are unknown"""
    timeouts: Timeouts = Timeouts()
    """how long to wait for its answers"""

    @property
    def where(self) -> str:
        """Return where an error of this model's entry is to be looked for: file, line and key."""
        return self.place or f"models.{self.name}"

    @property
    def managed(self) -> bool:
        """Return whether we start and supervise this model's vLLM ourselves."""
        return self.source is not None

    @property
    def upstream_name(self) -> str:
        """Return the name by which the upstream knows the model."""
        return self.upstream_model or self.name

    @property
    def backend(self) -> Backend | None:
        """Return what constrains this model's decoding; a vLLM that we start has one, pinned."""
        return self.structured_backend or ("guidance" if self.managed else None)

    @model_validator(mode="after")
    def _managed_or_attached(self) -> Model:
        if self.managed == bool(self.base_url):
            raise ValueError("expected exactly one of `source` (we start vLLM) and `base_url` (someone else does)")
        if len(set(self.base_url)) < len(self.base_url):
            raise ValueError("a URL of `base_url` stands twice; each is one replica")
        given = self.model_fields_set
        if not self.managed:
            for key in sorted({"replicas", "gpus", "vllm_args"} & given):
                raise ValueError(f"`{key}` belongs to a model that we start (`source`), not to a `base_url`")
        if self.managed:
            for key in sorted({"api_key", "upstream_model", "required"} & given):
                raise ValueError(f"`{key}` belongs to a `base_url`, not to a model that we start")
        if self.required and self.api_key is None:
            raise ValueError("`required` says that the start needs the `api_key`; there is none")
        if self.required and self.requires is not None:
            raise ValueError("`required` and `requires` contradict each other: one refuses, the other leaves out")
        return self


class RouteEntry(Entry):
    """A route as written: a ladder of model names, cheapest first; the last is the fallback.

    A rung may be a list of models of one tier: experts side by side, of which the policy chooses one. All other keys
    are the policy's options; the policy says which it has.
    """

    model_config = ConfigDict(extra="allow")

    ladder: Annotated[
        tuple[Annotated[tuple[str, ...], BeforeValidator(_one_or_many), Field(min_length=1)], ...],
        BeforeValidator(as_tuple),
        Field(min_length=1),
    ]
    """names of models, cheapest first; the last is the fallback; a list is a rung of experts side by side"""
    policy: str = "fixed"
    """which model a call starts at, and which answers are accepted"""


class ModelsFile(Entry):
    """The whole file."""

    models: dict[str, Model] = Field(min_length=1)
    """what is served, by the name that clients may use"""
    routes: dict[Name, RouteEntry] = Field(default_factory=dict)
    """names that clients use for a ladder of models"""


Rung = tuple[Model, ...]
"""models of one tier, side by side"""


@dataclass(frozen=True, slots=True)
class Route:
    """A route as it runs: only models that are there."""

    name: str
    rungs: tuple[Rung, ...]
    fallback: Model
    """the last rung as written, even where it is left out here: what it would have cost is what was saved"""
    policy: str = "fixed"
    options: Entry | None = None
    """the policy's own; None: all have their defaults"""

    @property
    def ladder(self) -> tuple[Model, ...]:
        """Return all models, from the lowest rung up."""
        return tuple(model for rung in self.rungs for model in rung)


@dataclass(frozen=True, slots=True)
class Config:
    """All of models.yaml. `left_out` maps a model that cannot be used here to the one line that says why.

    `written` holds every model of the file, those left out here too.
    """

    models: Mapping[str, Model]
    routes: Mapping[str, Route]
    left_out: Mapping[str, str]
    written: Mapping[str, Model] = field(default_factory=dict)

    def route(self, name: str) -> Route | None:
        """Return the route of that name, or None. A model's name is a route of one rung: it is pinned."""
        if found := self.routes.get(name):
            return found
        model = self.models.get(name)
        return Route(name, ((model,),), model) if model else None

    def resolve(self, name: str) -> Route:
        """Return the route that a request's `model` names.

        Raises:
            NotFound: no route and no model has that name, or it is left out here.
        """
        if route := self.route(name):
            return route
        absent = "is configured but not available here" if name in self.left_out else "does not exist"
        raise NotFound(
            f"The model '{name[:128]}' {absent}; GET /v1/models lists what is served.",
            param="model",
            code="model_not_found",
        )
