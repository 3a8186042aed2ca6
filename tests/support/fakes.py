"""An upstream without sockets, clocks or sleeps: it answers from a script and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from router.attempt import eligibility
from router.attempt.failure import Failure, classify
from router.config.model_options import Timeouts
from router.config.models import Config, Model, Route
from router.errors import ApiError, UpstreamTimedOut
from router.messages.chat import CHAT
from router.messages.completions import COMPLETIONS
from router.money.price import Price
from router.policy import POLICIES
from router.replicas.pool import Pool, Replica
from router.types import Ability, ChatCall, RoutingOptions
from router.upstream.dialects import DIALECTS

TOKENS = Price(input_usd_per_mtok=0.4, cached_input_usd_per_mtok=0.1, output_usd_per_mtok=1.6)
HOURS = Price(replica_hour_usd=3.6)
"""a thousandth of a dollar a second"""
QUESTION = ({"role": "user", "content": "What is the capital of France?"},)
ENDPOINTS = {endpoint.path: endpoint for endpoint in (CHAT, COMPLETIONS)}
HANG = object()
"""a step that never ends"""


def model(name: str = "slm", *, replicas: int = 1, **entry: Any) -> Model:
    entry = {"tier": "slm", "engine": "vllm", "price": HOURS, "timeouts": Timeouts()} | entry
    entry.setdefault("abilities", DIALECTS[entry["engine"]].abilities)
    return Model(name=name, base_url=tuple(f"http://{name}-{i}/v1" for i in range(replicas)), **entry)


def large(name: str = "llm", **entry: Any) -> Model:
    return model(name, **({"tier": "llm", "engine": "openai", "price": TOKENS} | entry))


def pool(of: Model) -> Pool:
    return Pool(of, [Replica(f"{of.name}/{i}", url) for i, url in enumerate(of.base_url)])


def config(*models: Model, **settings: Any) -> Config:
    """One route, `auto`, over all models."""
    rungs = settings.pop("rungs", None) or tuple((one,) for one in models)
    policy = settings.pop("policy", "fixed")
    route = Route("auto", rungs, models[-1], policy, POLICIES[policy].Options.model_construct(**settings))
    return Config({one.name: one for one in models}, {"auto": route}, {})


def call(
    *,
    endpoint: str = "chat/completions",
    model: str = "auto",
    stream: bool = False,
    usage: bool = False,
    routing: Mapping[str, Any] | None = None,
    **fields: Any,
) -> ChatCall:
    body: dict[str, Any] = {"model": model, **fields}
    if stream:
        body["stream"] = True
    if endpoint == "chat/completions":
        body.setdefault("messages", list(QUESTION))
    raw = json.dumps(body).encode()
    return ChatCall(
        ENDPOINTS[endpoint],
        model,
        body,
        msgspec.json.decode(raw, type=dict[str, msgspec.Raw]),
        len(raw),
        stream,
        usage,
        RoutingOptions(**(routing or {})),  # type: ignore[arg-type]
    )


def ineligible(one: Model, asked: ChatCall, needs: frozenset[Ability], spent_nano_usd: int = 0) -> Failure | None:
    """Why a model may not be asked, as the dispatch takes it; None: it may."""
    try:
        eligibility.check(one, DIALECTS[one.engine], asked, needs, spent_nano_usd)
    except ApiError as error:
        return classify(error)
    return None


def usage_of(prompt: int, completion: int, cached: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def whole(content: str = "Paris.", usage: object = None, finish: str | None = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, "refusal": None}}
    choice["finish_reason"] = finish
    return json.dumps({"id": "x", "choices": [choice], "usage": usage or usage_of(10, 5)}).encode()


def chunk(content: str | None = None, *, finish: str | None = None, index: int = 0, **delta: Any) -> bytes:
    delta = delta if content is None else {"content": content, **delta}
    return json.dumps({"id": "x", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}).encode()


def usage_chunk(prompt: int = 10, completion: int = 5) -> bytes:
    return json.dumps({"id": "x", "choices": [], "usage": usage_of(prompt, completion)}).encode()


DONE = b"[DONE]"
ROLE = chunk("", role="assistant")
STREAM: list[Any] = [[ROLE], [chunk("Pa")], [chunk("ris."), chunk(finish="stop")], [usage_chunk(), DONE]]
"""a good answer, in the batches in which it comes"""


async def read_into(got: list[bytes], events: AsyncIterator[list[bytes]] | None) -> None:
    """Read a stream; `got` keeps what came before an error."""
    assert events is not None
    async for together in events:
        got += together


async def hang(within_s: float) -> None:
    """Answer nothing within the time that there is."""
    await asyncio.sleep(within_s)
    raise UpstreamTimedOut("late")


class FakeExchange:
    """`steps` are the results of `next_events`: batches, errors to raise or HANG; then the stream's end."""

    def __init__(
        self, *, status: int = 200, body: bytes = b"", steps: Iterable[Any] = (), retry_after_s: float | None = None
    ) -> None:
        self.status = status
        self.retry_after_s = retry_after_s
        self.body = body
        self.steps = list(steps)
        self.is_stream = not body
        self.waits: list[float] = []
        self.within_s = 60.0
        self.closed = 0

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        if isinstance(self.body, ApiError):
            raise self.body
        if self.body is HANG:
            await hang(self.within_s)
        return self.body

    async def next_events(self, within_s: float) -> list[bytes]:
        assert not self.closed, "read after close"
        self.waits.append(within_s)
        await asyncio.sleep(0)
        step = self.steps.pop(0) if self.steps else []
        if isinstance(step, ApiError):
            raise step
        if step is HANG:
            await hang(within_s)
        return list(step)

    def close(self) -> None:
        self.closed += 1


@dataclass
class Sent:
    """One request that the upstream got."""

    url: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    connect_s: float


Answer = FakeExchange | ApiError | object
"""what a request gets: an answer, an error to raise, or HANG"""


@dataclass
class FakeUpstream:
    """Plays `script[host]`, one answer a request; the last one is repeated by calling it where it is a function."""

    script: dict[str, list[Answer | Callable[[], Answer]]]
    sent: list[Sent] = field(default_factory=list)
    exchanges: list[FakeExchange] = field(default_factory=list)

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        connect_s: float,
        within_s: float,
    ) -> FakeExchange:
        assert method == "POST"
        assert body is not None
        self.sent.append(Sent(url, headers, json.loads(body), connect_s))
        await asyncio.sleep(0)
        answers = self.script[url.split("/")[2]]
        answer = answers.pop(0) if len(answers) > 1 or not callable(answers[0]) else answers[0]
        if callable(answer):
            answer = answer()
        if isinstance(answer, ApiError):
            raise answer
        if answer is HANG:
            await hang(within_s)
        assert isinstance(answer, FakeExchange)
        answer.within_s = within_s
        self.exchanges.append(answer)
        return answer

    @property
    def hosts(self) -> list[str]:
        """Who was asked, in order."""
        return [sent.url.split("/")[2] for sent in self.sent]


def answers(content: str = "Paris.", usage: object = None) -> Callable[[], FakeExchange]:
    return lambda: FakeExchange(body=whole(content, usage))


def streams(steps: Iterable[Any] = tuple(STREAM)) -> Callable[[], FakeExchange]:
    steps = list(steps)
    return lambda: FakeExchange(steps=steps)


def refuses(status: int, body: object = None, retry_after_s: float | None = None) -> Callable[[], FakeExchange]:
    content = body if isinstance(body, bytes) else json.dumps(body or {"error": {"message": "no"}}).encode()
    return lambda: FakeExchange(status=status, body=content, retry_after_s=retry_after_s)
