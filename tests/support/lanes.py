"""Lanes: each test has models and routes of its own in one running gateway.

So no test sees another's breaker, cooldown or replica state, and a gateway starts once for a whole module. Lane 3's
model `slm` is called `slm-3`; its upstream is the site of that name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from tests.support import events
from tests.support.gateway import Gateway
from tests.support.metrics import Metrics
from tests.support.upstream import Site, Upstream
from tests.support.waiting import NEVER_S, PATIENCE_S

LONG = {"connect_s": NEVER_S, "first_byte_s": NEVER_S, "idle_s": NEVER_S, "total_s": 2 * NEVER_S}
"""limits that end no wait of a test"""
BRIEF = LONG | {"first_byte_s": 0.4, "idle_s": 0.4, "total_s": 0.6}
"""for an upstream that is silent; one that answers may be slower than that on a busy machine"""
SLM_PRICE = {"input_usd_per_mtok": 0.05, "output_usd_per_mtok": 0.10}
LLM_PRICE = {"input_usd_per_mtok": 0.40, "cached_input_usd_per_mtok": 0.10, "output_usd_per_mtok": 1.60}
UPSTREAM_KEY = "sk-upstream-canary-5f2d"
UPSTREAM_MODEL = "big-model-1"

QUESTION = [{"role": "user", "content": "Which city is the capital of France?"}]


@dataclass
class Plan:
    """Collects what models.yaml says of one lane."""

    upstream: Upstream
    number: int
    models: dict[str, Any] = field(default_factory=dict)
    routes: dict[str, Any] = field(default_factory=dict)

    def name(self, kind: str) -> str:
        return f"{kind}-{self.number}"

    def slm(self, kind: str = "slm", *, replicas: int = 1, **entry: Any) -> None:
        """Add a small model, attached to a vLLM; with more than one replica the sites are `kind-N-a`, `kind-N-b`."""
        name = self.name(kind)
        sites = [f"{name}-{letter}" for letter in "abcdefgh"[:replicas]] if replicas > 1 else [name]
        base = {"tier": "slm", "engine": "vllm", "base_url": [self.upstream.url(_site(site)) for site in sites]}
        self._add(name, base | {"context": 2048, "price": SLM_PRICE, "timeouts": LONG}, entry)

    def llm(self, kind: str = "llm", **entry: Any) -> None:
        """Add a large model behind an OpenAI-style API."""
        name = self.name(kind)
        base = {"tier": "llm", "engine": "openai", "base_url": self.upstream.url(_site(name))}
        base |= {"api_key": UPSTREAM_KEY, "upstream_model": UPSTREAM_MODEL, "price": LLM_PRICE, "timeouts": LONG}
        self._add(name, base, entry)

    def route(self, kind: str, *ladder: str, **entry: Any) -> None:
        self.routes[self.name(kind)] = {"ladder": [self.name(model) for model in ladder]} | entry

    def _add(self, name: str, base: dict[str, Any], entry: Mapping[str, Any]) -> None:
        merged = base | dict(entry)
        self.models[name] = {key: value for key, value in merged.items() if value is not None}


def _site(name: str) -> str:
    return name.replace("/", ".")


def usual(plan: Plan) -> None:
    """A small model that answers first, a large one behind it."""
    plan.slm()
    plan.llm()
    plan.route("auto", "slm", "llm")


def models_yaml(upstream: Upstream, count: int, describe: Callable[[Plan], None]) -> dict[str, Any]:
    plans = [Plan(upstream, number) for number in range(count)]
    for plan in plans:
        describe(plan)
    return {
        "models": {name: entry for plan in plans for name, entry in plan.models.items()},
        "routes": {name: entry for plan in plans for name, entry in plan.routes.items()},
    }


class Answer:
    """A whole answer, with what tests ask of it."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.headers = response.headers

    @property
    def json(self) -> dict[str, Any]:
        return self.response.json()

    @property
    def text(self) -> str:
        return self.json["choices"][0]["message"]["content"]

    @property
    def error(self) -> dict[str, Any]:
        """The error object, checked for its shape."""
        return error_of(self.response)

    def said(self, name: str) -> str:
        """Return the header `x-smallfirst-NAME`."""
        return self.headers[f"x-smallfirst-{name}"]

    def dollars(self, name: str) -> Decimal:
        return Decimal(self.said(name))


class Streamed(Answer):
    """A stream read to its end."""

    @property
    def transcript(self) -> events.Transcript:
        return events.parse(self.response.content)


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error object of an answer, after checking that it has OpenAI's shape and one request id."""
    assert response.headers["content-type"].split(";")[0] == "application/json", response.text
    body = response.json()
    assert set(body) == {"error"}, body
    assert {"message", "type", "param", "code"} <= set(body["error"]), body
    assert isinstance(body["error"]["message"], str)
    assert body["error"]["message"]
    assert isinstance(body["error"]["type"], str)
    assert body["error"]["code"] is None or isinstance(body["error"]["code"], str)
    assert len(response.headers.get_list("x-request-id")) == 1
    return body["error"]


class Lane:
    """One test's models, routes and upstreams."""

    def __init__(self, number: int, gateway: Gateway, upstream: Upstream) -> None:
        self.number = number
        self.gateway = gateway
        self._upstream = upstream

    def name(self, kind: str) -> str:
        return f"{kind}-{self.number}"

    def site(self, kind: str, replica: str = "") -> Site:
        return self._upstream.site(_site(self.name(kind) + (f"-{replica}" if replica else "")))

    @property
    def used(self) -> bool:
        """Whether any upstream of this lane was called."""
        return self._upstream.called(rf".*-{self.number}(-[a-h])?")

    @property
    def slm(self) -> Site:
        return self.site("slm")

    @property
    def llm(self) -> Site:
        return self.site("llm")

    def body(self, kind: str = "auto", **fields: Any) -> dict[str, Any]:
        return {"model": self.name(kind), "messages": QUESTION} | fields

    def chat(self, kind: str = "auto", *, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        body = json.dumps(self.body(kind, **fields))
        return Answer(self.post("/v1/chat/completions", body, headers))

    def complete(self, kind: str = "auto", **fields: Any) -> Answer:
        body = json.dumps({"model": self.name(kind), "prompt": "The capital of France is"} | fields)
        return Answer(self.post("/v1/completions", body))

    def stream(self, kind: str = "auto", **fields: Any) -> Streamed:
        """Ask for a stream and read it to its end."""
        body = json.dumps(self.body(kind, stream=True, **fields))
        return Streamed(self.post("/v1/chat/completions", body))

    def post(self, path: str, body: str | bytes, headers: Mapping[str, str] | None = None) -> httpx.Response:
        content = body.encode() if isinstance(body, str) else body
        given = {"content-type": "application/json"} | dict(headers or {})
        return self.gateway.http.post(path, content=content, headers=given)

    def assert_escalated(self, reply: Answer, reason: str, *, to: str = "llm", attempts: int = 2) -> None:
        assert reply.status == 200, reply.response.text
        assert reply.said("model") == self.name(to)
        assert reply.said("reason") == reason
        assert reply.said("attempts") == str(attempts)

    def metrics(self) -> Metrics:
        return self.gateway.metrics()

    def counter(self, name: str, **labels: str) -> float:
        """Return the sum of a counter's series with these labels."""
        return self.metrics().value(f"smallfirst_{name}", **labels)

    def expect(self, expected: float, name: str, *, route: str = "auto", **labels: str) -> None:
        """Assert a counter of one of this lane's routes.

        It is counted when the request is over, which the client may learn a little earlier: so soon.
        """
        self.expect_of(expected, name, route=self.name(route), **labels)

    def expect_of(self, expected: float, name: str, **labels: str) -> None:
        """Assert a counter by any labels, now or soon."""
        end = time.monotonic() + PATIENCE_S
        while (found := self.counter(name, **labels)) != expected:
            if time.monotonic() > end:
                series = [pair for pair in self.metrics().matching(f"smallfirst_{name}") if pair[1]]
                mine = [pair for pair in series if f"-{self.number}" in str(pair[0])]
                raise AssertionError(f"{name}{labels} is {found}, expected {expected}; this lane has {mine}")
            time.sleep(0.01)
