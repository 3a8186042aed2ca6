"""A policy, an endpoint and a dialect, each added from this file alone: no product file knows them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import msgspec
import pytest
from fastapi import FastAPI
from pydantic import Field

from router.config.models import Model, Route
from router.decision import Decision
from router.errors import ApiError, BadRequest, ConfigError, Overloaded, UpstreamFailed
from router.load_config import load
from router.policy import POLICIES
from router.policy import register as register_policy
from router.policy import unregister as unregister_policy
from router.policy.base import Policy, PolicyOptions, Situation
from router.structured.engine.constrained_call import EngineFields, FormatRequest, ToolRequest
from router.types import Ability, ChatCall, Endpoint
from router.upstream.base import Dialect
from router.upstream.dialects import register as register_dialect
from router.upstream.dialects import unregister as unregister_dialect
from server.cli import main
from server.endpoints.decode import decode
from server.endpoints.openapi import describe
from server.endpoints.registry import TextEndpoint
from server.endpoints.registry import register as register_endpoint
from server.endpoints.registry import unregister as unregister_endpoint
from server.endpoints.schemas import ModelRequest
from tests.support.fakes import TOKENS, FakeExchange, answers, call, config, large, model
from tests.support.inprocess import Dispatching

# --- a policy


class EveryNthOptions(PolicyOptions):
    """Keys of a route with `policy: every_nth`."""

    every: int = Field(2, ge=1, description="A call whose number of words it divides starts at the last rung.")


class EveryNth(Policy):
    """Starts at the last rung if the number of words is divisible by `every`."""

    name = "every_nth"
    Options = EveryNthOptions
    reasons: ClassVar = {"every_nth": "The number of words decides."}

    def __init__(self, every: int) -> None:
        self.every = every

    @classmethod
    def build(cls, route: Route) -> EveryNth:
        return cls(EveryNthOptions.of(route).every)

    def decide(self, situation: Situation) -> Decision:
        words = len(situation.call.body["messages"][0]["content"].split())
        return Decision(rung=len(situation.rungs) - 1 if words % self.every == 0 else 0, reason="every_nth")


@pytest.fixture
def policy() -> Iterator[None]:
    register_policy(EveryNth)
    yield
    unregister_policy(EveryNth)


YAML = """
models:
  small: {tier: slm, engine: ENGINE, base_url: http://small/v1}
  big: {tier: llm, engine: openai, base_url: http://big/v1}
routes:
  auto: {ladder: [small, big], POLICY}
"""


def written(folder: Any, engine: str = "vllm", policy: str = "policy: fixed") -> Any:
    path = folder / "models.yaml"
    path.write_text(YAML.replace("ENGINE", engine).replace("POLICY", policy))
    return path


async def test_a_policy_decides(policy: None) -> None:
    gateway = Dispatching(settings={"policy": "every_nth", "every": 3})
    for words, answering in (("one two", "slm"), ("one two three", "llm")):
        await gateway.ask(messages=[{"role": "user", "content": words}])
        assert (gateway.record.model, gateway.record.reason) == (answering, "every_nth")


async def test_a_request_may_name_the_policy(policy: None) -> None:
    gateway = Dispatching()
    await gateway.ask(messages=[{"role": "user", "content": "one two"}], routing={"policy": "every_nth"})
    assert gateway.record.model == "llm"


def test_requests_are_validated_by_the_registry(policy: None) -> None:
    from server.endpoints.chat import CHAT_ENDPOINT

    def body(name: str) -> bytes:
        messages = [{"role": "user", "content": "x"}]
        return json.dumps({"model": "auto", "messages": messages, "routing": {"policy": name}}).encode()

    assert decode(CHAT_ENDPOINT, body("every_nth")).routing.policy == "every_nth"
    with pytest.raises(BadRequest, match="'every_nth'") as caught:
        decode(CHAT_ENDPOINT, body("none_such"))
    assert caught.value.param == "routing.policy"


def test_models_yaml_and_check_know_the_policy_and_its_keys(
    policy: None, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, policy="policy: every_nth, every: 5")
    route = load(path, {}, gpu=False).routes["auto"]
    assert EveryNthOptions.of(route).every == 5
    assert main(["check", f"--config={path}"]) == 0
    path = written(tmp_path, policy="policy: every_nth, every: 0")
    assert main(["check", f"--config={path}"]) == 2
    assert f"{path}:6: routes.auto.every: expected" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="`every` is read by `policy: every_nth` only"):
        load(written(tmp_path, policy="policy: fixed, every: 5"), {}, gpu=False)


def test_the_api_description_knows_the_policy(policy: None) -> None:
    app = FastAPI()
    describe(app)
    routing = app.openapi()["components"]["schemas"]["Routing"]
    assert "every_nth" in json.dumps(routing["properties"]["policy"])


def test_two_policies_of_one_name_are_refused() -> None:
    twin = type("Twin", (EveryNth,), {"name": "fixed"})
    with pytest.raises(ValueError, match="two policies are named 'fixed'"):
        register_policy(twin)
    assert "every_nth" not in POLICIES


# --- an endpoint that passes its answer through


class EmbeddingsRequest(ModelRequest):
    """POST /v1/embeddings."""

    input: str


class Embeddings(Endpoint):
    """Vectors of texts."""

    path = "embeddings"
    prompt_field = "input"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"completions"})
    returns_choices = False

    def parse(self, answer: bytes, choices: int) -> dict[str, Any]:
        parsed: dict[str, Any] = msgspec.json.decode(answer)
        if not parsed.get("data"):
            raise UpstreamFailed("the upstream answered without any embedding")
        return parsed


EMBEDDINGS = TextEndpoint(Embeddings(), EmbeddingsRequest, "Create embeddings")
ANSWER = b'{"data":[{"embedding":[0.5],"index":0}],"usage":{"prompt_tokens":3}}'


@pytest.fixture
def endpoint() -> Iterator[None]:
    register_endpoint(EMBEDDINGS)
    yield
    unregister_endpoint(EMBEDDINGS)


def embeddings() -> ChatCall:
    return decode(EMBEDDINGS, b'{"model": "auto", "input": "three little words", "response_format": {"type": "odd"}}')


async def test_an_endpoint_passes_its_answer_through_and_is_counted(endpoint: None) -> None:
    gateway = Dispatching(script={"slm-0": [lambda: FakeExchange(body=ANSWER)]})
    assert await gateway.ask(embeddings()) == [ANSWER]
    [sent] = gateway.upstream.sent
    assert sent.url == "http://slm-0/v1/embeddings"
    assert gateway.record.usage is not None
    assert gateway.record.usage.prompt == 3
    gateway.all_is_released()


async def test_a_broken_answer_of_it_escalates_and_its_ability_is_needed(endpoint: None) -> None:
    able = large(abilities=frozenset({"completions"}))
    gateway = Dispatching(
        [model(), able],
        {"slm-0": [lambda: FakeExchange(body=b"{}")], "llm-0": [lambda: FakeExchange(body=ANSWER)]},
    )
    assert await gateway.ask(embeddings()) == [ANSWER]
    assert gateway.steps == [("slm", "llm", "upstream_error")]
    gateway = Dispatching([model(abilities=frozenset()), able], {"llm-0": [lambda: FakeExchange(body=ANSWER)]})
    await gateway.ask(embeddings())
    assert gateway.steps == [("slm", "llm", "ability")]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"routing": {"polcy": "x"}}, "routing.polcy"),
        ({"routing": "x"}, "routing"),
        ({"stream": True}, "stream"),
        ({"input": 5}, "input"),
    ],
)
def test_bad_input_of_it_gets_a_clear_error(endpoint: None, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(EMBEDDINGS, json.dumps({"model": "auto", "input": "x"} | fields).encode())
    assert caught.value.param == param


async def test_no_answer_tokens_are_expected_of_it(endpoint: None) -> None:
    priced = model(price=TOKENS)
    gateway = Dispatching([priced], {"slm-0": [lambda: FakeExchange(body=ANSWER)]})
    one = decode(EMBEDDINGS, b'{"model": "auto", "input": "x", "routing": {"max_cost_usd": 0.0001}}')
    assert await gateway.ask(one) == [ANSWER]


def test_the_api_description_shows_the_endpoint(endpoint: None) -> None:
    app = FastAPI()
    describe(app)
    operation = app.openapi()["paths"]["/v1/embeddings"]["post"]
    assert operation["summary"] == "Create embeddings"


# --- a dialect


class Triton(Dialect):
    """An engine that calls its limits by other names."""

    name = "triton"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"structured"})
    health_path = "/healthy"

    def body(self, call: ChatCall, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
        fields = {**call.body, "model": model.upstream_name, "n_predict": call.max_tokens}
        return fields, ()

    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        return Overloaded("all slots are busy", retry_after_s=retry_after_s)

    def format_fields(self, request: FormatRequest) -> EngineFields:
        schema: Mapping[str, Any] = request.output_format.schema.value if request.output_format.schema else {}
        return EngineFields({"json_schema": schema})

    def tool_fields(self, request: ToolRequest) -> EngineFields:
        return EngineFields(in_words=True)


@pytest.fixture
def dialect() -> Iterator[None]:
    register_dialect(Triton)
    yield
    unregister_dialect("triton")


async def test_a_dialect_writes_its_fields_and_reads_its_refusals(dialect: None) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    script = {"slm-0": [lambda: FakeExchange(status=500)], "llm-0": [answers('{"a": 1}')]}
    gateway = Dispatching([model(engine="triton"), large()], script)
    await gateway.ask(max_tokens=7, response_format=wanted)
    sent = gateway.upstream.sent[0].body
    assert (sent["n_predict"], sent["json_schema"]) == (7, schema)
    assert "response_format" not in sent
    assert gateway.steps == [("slm", "llm", "overloaded")]


def test_models_yaml_knows_the_dialect_and_its_abilities(dialect: None, tmp_path: Any) -> None:
    loaded = load(written(tmp_path, engine="triton"), {}, gpu=False).models["small"]
    assert (loaded.engine, loaded.abilities) == ("triton", frozenset({"structured"}))
    with pytest.raises(ConfigError, match="`structured_backend` is only for `engine: vllm`"):
        load(written(tmp_path, engine="triton, structured_backend: guidance"), {}, gpu=False)


def test_a_dialect_that_nobody_registered_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match=r"models\.small\.engine: expected 'openai', .* or '\w+', got 'triton'"):
        load(written(tmp_path, engine="triton"), {}, gpu=False)


async def test_the_fleet_asks_the_dialects_health_path(dialect: None, tmp_path: Any) -> None:
    from router.fleet import Fleet
    from router.replicas.probe import Probe

    asked: list[str] = []

    class Upstream:
        async def send(self, method: str, url: str, **_: Any) -> FakeExchange:
            asked.append(url)
            raise UpstreamFailed("down")

    attached = model(engine="triton")
    fleet = Fleet(config(attached), Upstream(), tmp_path, print)  # type: ignore[arg-type]
    [probe] = [replica.liveness for replica in fleet.pools["slm"].replicas]
    assert isinstance(probe, Probe)
    await probe._is_healthy()
    assert asked == ["http://slm-0/healthy"]
    assert call().endpoint.path == "chat/completions"
