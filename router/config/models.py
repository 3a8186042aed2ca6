"""The contents of models.yaml as frozen objects. `load_config` reads the file.

docs/reference/models-yaml.md is generated from this file: the docstring below a key explains the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from router.config.hours import Hours
from router.config.model_options import Requires, Timeouts, TransformersArgs
from router.config.model_rules import check_keys_together
from router.config.swap import SwapGroup
from router.config.values import (
    check_hours,
    header_name,
    header_text,
    header_value,
    http_url,
    known_abilities,
    not_none,
)
from router.errors import NotFound
from router.money.price import Price
from router.types import Ability, Backend, Tier, Want
from router.yaml.entry import Entry, Positive, as_tuple

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$"), AfterValidator(not_none)]

HeaderName = Annotated[str, AfterValidator(header_name)]
MIN_SECRET_HEADER_CHARS = 16
"""a shorter value of `headers` is no key"""


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else as_tuple(value)


class Model(Entry):
    """One model: managed (`source`: smallfirst starts the engine) or attached (`base_url`: the server already runs)."""

    name: Name
    place: str = ""
    """`file:line: key` of the entry; `load_config` sets it, as it does the name"""
    adapter_of: str | None = None
    """the model whose adapter this is; `load_config` makes one model of each adapter"""
    tier: Tier
    """`slm`: a small model; `llm`: a large one"""
    engine: str
    """the kind of server that runs the model: `vllm`, `transformers` for models that vLLM does not have, `llamacpp`
    (llama.cpp's `llama-server`), `llama-cpp-python`, `ollama`, `sglang`, or `openai` for any other server with OpenAI's
    API"""
    source: str | None = Field(None, min_length=1)
    """the weights that smallfirst serves itself: a hub id, a folder, or a file in a Python package; or
    `catalogue:NAME`, which means `catalogue: NAME` with the weights from the hub"""
    catalogue: str | None = Field(None, min_length=1)
    """the name of an entry of [the catalogue](../models.md), which fills in `tier`, `engine`, `source`, `context` (at
    most 32,768), `vllm_args` and `abilities`; what is written here wins, `vllm_args` key by key, and `null` there
    leaves a key out; beside it, `source` may name a folder with the same weights"""
    base_url: Annotated[tuple[Annotated[str, AfterValidator(http_url)], ...], BeforeValidator(_one_or_many)] = ()
    """the URL of a running server's API, such as `http://host:port/v1`; in a list, each URL is one replica. A query,
    such as Azure's `?api-version=...`, is sent with each request"""
    api_key: Annotated[SecretStr, AfterValidator(header_value)] | None = None
    """the key that is sent to the upstream as a bearer token; if it is `${env.NAME}` and the variable is not set, the
    model is left out"""
    api_key_header: HeaderName | None = None
    """the header that carries the `api_key` alone, such as `api-key` for Azure; the default is `Authorization`, with
    `Bearer` before the key"""
    headers: dict[HeaderName, Annotated[SecretStr, BeforeValidator(header_text)]] = Field(default_factory=dict)
    """further headers of each request to the upstream, such as `OpenAI-Project`; if a value is `${env.NAME}` and the
    variable is not set, the model is left out"""
    required: bool = False
    """`true`: refuse to start if the variable of the `api_key` is not set, instead of leaving the model out"""
    requires: Requires | None = None
    """what the machine must have; otherwise the model is left out"""
    upstream_model: str | None = Field(None, min_length=1)
    """the name of the model at the upstream; the default is the name of this entry"""
    replicas: int = Field(1, ge=1, le=64)
    """the number of engines that smallfirst starts for the model"""
    balance: Literal["prefix", "least_loaded"] | None = None
    """how requests are distributed among the replicas; `prefix`: the turns of a conversation go to the same replica,
    whose engine still has their beginning in its prefix cache, as long as the load stays even; `least_loaded`: each
    request goes to the replica with the fewest requests. The default is `prefix`, but `least_loaded` for `transformers`
    and `llama-cpp-python`, which serve one request at a time"""
    gpus: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(as_tuple)] = ()
    """the indexes of the GPUs that the replicas use; the default is all visible GPUs. Each replica has its own slice:
    one GPU, or the product of the parallel sizes in `vllm_args`; `gpus: [0, 1]` with `replicas: 2` is one each.
    Replicas that share a GPU start one after another"""
    context: int | None = Field(None, ge=1)
    """the most tokens that prompt and answer may have together; a longer prompt goes directly to the next rung; it is
    required for `ollama` and `llama-cpp-python`, which do not refuse longer prompts"""
    vllm_args: dict[str, Any] = Field(default_factory=dict)
    """command-line options for vLLM, by name: `{dtype: float32}` becomes `--dtype float32`"""
    adapters: dict[Name, str] = Field(default_factory=dict)
    """LoRA adapters of a model with `source`, by the names that clients use: each a hub id, or a folder in PEFT's
    format. An adapter is a model of its own on the same replicas, with all other keys of this entry"""
    transformers_args: TransformersArgs = TransformersArgs()
    """options of `engine: transformers`"""
    refuses: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """request fields that the upstream does not take, such as `temperature` or `messages.*.reasoning_content`: they are
    not sent; what is not written here is learned from the upstream's refusals"""
    renames: dict[str, str] = Field(default_factory=dict)
    """request fields that the upstream knows by another name: `{max_tokens: max_completion_tokens}`"""
    limits: dict[str, float] = Field(default_factory=dict)
    """the largest numbers that the upstream takes in request fields: `{max_tokens: 16384, temperature: 1}`"""
    wants: Annotated[tuple[Want, ...], BeforeValidator(as_tuple)] = ()
    """forms that the upstream wants messages or schemas to have: `alternating_roles`, `no_developer`, `no_system`,
    `system_first`, `text_content`, `call_ids_40`, `call_ids_9`, `json_word`, `any_of`, `defs`"""
    structured_backend: Backend | None = None
    """the structured output backend of an attached vLLM; if omitted, structured streams are buffered until verified"""
    abilities: Annotated[frozenset[Ability], BeforeValidator(known_abilities)] = frozenset()
    """the capabilities of the model; a request that needs others goes to the next rung. The default depends on
    `engine`"""
    prefill: bool | None = None
    """whether the upstream goes on from a trailing assistant message, so that the model can finish a stream that broke
    off elsewhere; the default is `true` for `vllm`, `sglang` and `llamacpp`, and otherwise `false`"""
    idle_minutes: Positive | None = None
    """a model with `source`: after so many minutes without a request it is unloaded; the next request loads it again,
    and waits meanwhile. It is not loaded before its first request either"""
    hours: Annotated[str, AfterValidator(check_hours)] | None = None
    """when the model runs: hours and a time zone, such as `22:00-06:00 Europe/Madrid` or
    `Mon-Fri 20:00-08:00, Sat-Sun 00:00-24:00 Europe/Madrid`; at other times requests go to the next rung"""
    price: Price | None = None
    """the price of the model; without it, costs and savings are unknown"""
    timeouts: Timeouts = Timeouts()
    """how long to wait for the model's answers"""
    hedge: bool = True
    """whether a stream that begins later than 95 % of the model's recent streams is asked of a second, less loaded
    replica, too; what begins first is taken, the other is cancelled. At most 2 % of the streams are, and only a model
    with several replicas"""

    @property
    def where(self) -> str:
        """Return file, line and key of this model's entry, for error messages."""
        return self.place or f"models.{self.name}"

    @property
    def managed(self) -> bool:
        """Return whether we start and supervise this model's engine ourselves."""
        return self.source is not None

    @property
    def timetable(self) -> Hours | None:
        """Return the hours at which the model runs, or None if it always runs."""
        return Hours.parse(self.hours) if self.hours else None

    @property
    def adapter_models(self) -> list[Model]:
        """Return the models that its adapters are."""
        own: dict[str, Any] = {"place": "", "adapters": {}, "adapter_of": self.name}
        return [self.model_copy(update={"name": name, **own}) for name in self.adapters]

    @property
    def upstream_name(self) -> str:
        """Return the name of the model at the upstream."""
        return self.upstream_model or self.name

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return what no log and no client may see: the key, and the values of `headers` that are as long as a key."""
        key = () if self.api_key is None else (self.api_key.get_secret_value(),)
        values = [value.get_secret_value() for value in self.headers.values()]
        return (*key, *(value for value in values if len(value) >= MIN_SECRET_HEADER_CHARS))

    @property
    def engine_args(self) -> Mapping[str, Any]:
        """Return the engine's own arguments that are written in models.yaml."""
        return self.vllm_args or self.transformers_args.model_dump(exclude_unset=True)

    @property
    def backend(self) -> Backend | None:
        """Return the structured output backend; an engine that we start uses guidance by default."""
        return self.structured_backend or ("guidance" if self.managed else None)

    @model_validator(mode="after")
    def _check_keys_together(self) -> Model:
        check_keys_together(self)
        return self


def without_adapters(models: Mapping[str, Model]) -> list[Model]:
    """Return the models that have weights and replicas of their own."""
    return [model for model in models.values() if model.adapter_of is None]


class RouteEntry(Entry):
    """A route: a ladder of model names, cheapest first. The last model is the fallback.

    A rung may also be a list of models of one tier; the policy chooses one of them. All other keys are options of the
    policy.
    """

    model_config = ConfigDict(extra="allow")

    ladder: Annotated[
        tuple[Annotated[tuple[str, ...], BeforeValidator(_one_or_many), Field(min_length=1)], ...],
        BeforeValidator(as_tuple),
        Field(min_length=1),
    ]
    """the names of the models, cheapest first; the last is the fallback; a list is a rung of alternative models"""
    policy: str = "fixed"
    """the policy, which chooses the first model of each request and decides which answers are accepted"""


class ModelsFile(Entry):
    """The top level of the file."""

    models: dict[str, Model] = Field(min_length=1)
    """the models, by the names that clients use"""
    routes: dict[Name, RouteEntry] = Field(default_factory=dict)
    """the routes, by the names that clients use; each is a ladder of models"""
    swap: dict[Name, SwapGroup] = Field(default_factory=dict)
    """groups of models of which only some are loaded at a time, by names of your choice"""


Rung = tuple[Model, ...]
"""models of one tier, side by side"""


@dataclass(frozen=True, slots=True)
class Route:
    """A route without the models that are left out."""

    name: str
    rungs: tuple[Rung, ...]
    fallback: Model
    """the last rung of the file, even if it is left out here: savings are measured against its price"""
    policy: str = "fixed"
    options: Entry | None = None
    """the options of the policy, or None if all have their defaults"""

    @property
    def is_pinned(self) -> bool:
        """Return whether the client asked for one model by its name."""
        return len(self.rungs) == 1 and self.name == self.rungs[0][0].name

    @property
    def ladder(self) -> tuple[Model, ...]:
        """Return all models, from the lowest rung up."""
        return tuple(model for rung in self.rungs for model in rung)


@dataclass(frozen=True, slots=True)
class Config:
    """All of models.yaml. `left_out` maps each model that cannot be used here to a line that explains why.

    `written` contains every model of the file, including those left out. `swap` has the groups as the file has them.
    """

    models: Mapping[str, Model]
    routes: Mapping[str, Route]
    left_out: Mapping[str, str]
    written: Mapping[str, Model] = field(default_factory=dict)
    swap: Mapping[str, SwapGroup] = field(default_factory=dict)

    @property
    def on_demand(self) -> frozenset[str]:
        """Return the models that are loaded when they are asked: those of swap groups, and those with an idle time."""
        grouped = {name for group in self.swap.values() for name in group.models if name in self.models}
        return frozenset(grouped | {model.name for model in without_adapters(self.models) if model.idle_minutes})

    def route(self, name: str) -> Route | None:
        """Return the route of that name, or None. A model's name is a route of one rung: no other model answers."""
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
