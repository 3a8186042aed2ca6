"""The types that everything shares: what a request is, and what came back.

Those that every request makes are msgspec's: they are made in a fifth of a dataclass's time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

MOST_TOKENS = 2**40
NANO = 1_000_000_000
"""nano-dollars of a dollar, and nanoseconds of a second"""

Tier = Literal["slm", "llm"]
StreamHold = Literal["first", "whole", "none"]
Ability = Literal["completions", "tools", "structured", "logprobs", "image", "audio", "file"]

EscalationReason = Literal[
    "unavailable",
    "timeout",
    "upstream_error",
    "overloaded",
    "context",
    "ability",
    "structured",
    "truncated",
    "cost",
    "confidence",
    "policy",
]
ESCALATION_REASONS: Mapping[EscalationReason, str] = {
    "unavailable": "No replica of the model could take the request, or none could be reached.",
    "timeout": "The model did not answer in time, or the upstream answered with status 408 or 504.",
    "upstream_error": "The upstream sent another 5xx status, a broken or cut answer, or refused our API key.",
    "overloaded": "The upstream answered with status 429, 503 or 529: it has no room now.",
    "context": "The prompt does not fit into the model's context.",
    "ability": "The model lacks an ability that the request needs, according to models.yaml.",
    "structured": "The answer failed the check of its format twice.",
    "truncated": "The token limit cut the answer, and the client set `routing.on_truncation: retry`.",
    "cost": "The model is more expensive than the client's `routing.max_cost_usd` allows.",
    "confidence": "The answer is too likely to be worse than the fallback's.",
    "policy": "The policy chose a higher rung as the first one.",
}
"""the meaning of each reason; docs/reference/reasons.md is made from it"""


ASKED_DIFFERENTLY: frozenset[EscalationReason] = frozenset({"structured", "truncated", "ability"})
"""no mere repetition: the next try is told what was wrong, has more room, or drops what the engine refused"""


class RoutingOptions(Struct, frozen=True):
    """The body's `routing` object: the client's own wishes for one call. None: not said."""

    policy: str | None = None
    max_cost_usd: float | None = None
    min_confidence: float | None = None
    """the least probability, 0 to 1, that an answer is as good as the fallback's"""
    task: str | None = None
    """the client's own name for what it asks again and again"""
    allow_fallback: bool = True
    deadline_ms: int | None = None
    hold: StreamHold | None = None
    """how much of a stream waits until it is known whether it may be believed"""
    stream_check: Literal["hold", "prefix"] | None = None
    """what a stream does that is not yet verified: wait, or come out while it can still become valid"""
    on_truncation: Literal["accept", "retry"] | None = None
    """what is done with an answer of a form that the token limit cut"""


class Endpoint(ABC):
    """One of OpenAI's APIs, as the router has to know it: its path, its prompt, its limits, its answers.

    `body` is a request's JSON. `server.endpoints` has the request types and serves the endpoints.
    """

    path: ClassVar[str]
    """below `/v1/`, here and at the upstream"""
    prompt_field: ClassVar[str]
    """the field that holds what the model reads"""
    abilities: ClassVar[frozenset[Ability]] = frozenset()
    """without which no model can serve it"""
    has_messages: ClassVar[bool] = False
    """`prompt_field` is a conversation"""
    takes_tools: ClassVar[bool] = False
    returns_choices: ClassVar[bool] = True
    """its answers are choices of text: they can be streamed, checked and judged"""
    logprobs_fields: ClassVar[Mapping[str, Any]] = {}
    """fields that ask for the logprob of each token"""
    unread_choice_fields: ClassVar[frozenset[str]] = frozenset()
    """fields of a choice that its clients do not read; some upstreams send them for another endpoint's clients"""

    def max_tokens(self, body: Mapping[str, Any]) -> int | None:
        """Return the most tokens that the client wants back, or None for the model's limit."""
        return body.get("max_tokens") if self.returns_choices else 0

    def prompts(self, body: Mapping[str, Any]) -> int:
        """Return how many prompts there are; each has its own choices."""
        return 1

    def generated(self, body: Mapping[str, Any]) -> int:
        """Return how many answers to each prompt are generated, and paid for."""
        return body.get("n") or 1

    def messages(self, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the conversation, if it has one."""
        return body[self.prompt_field] if self.has_messages else ()

    @abstractmethod
    def parse(self, answer: bytes, choices: int) -> dict[str, Any]:
        """Return a whole answer, with as many choices as were asked for.

        Raises:
            UpstreamFailed: it is no whole answer.
        """


class ChatCall(Struct, frozen=True):
    """One request for text, decoded and validated, not yet bound to a model.

    `body` is the client's JSON as it came (unknown fields kept, `routing` taken out); nobody changes it.
    """

    endpoint: Endpoint
    model: str
    body: Mapping[str, Any]
    fields: Mapping[str, Any]
    """the same, each value as the client wrote it (`Raw`): unchanged fields are forwarded byte for byte"""
    size: int
    """length of the client's body, bytes"""
    stream: bool = False
    include_usage: bool = False
    """the client asked for the usage event at the end of the stream"""
    routing: RoutingOptions = RoutingOptions()

    def replaced(self, changes: Mapping[str, Any]) -> ChatCall:
        """Return the call with other values of some fields; None takes a field out."""
        kept = {name: value for name, value in changes.items() if value is not None}
        body = {name: value for name, value in self.body.items() if name not in changes} | kept
        fields = {name: value for name, value in self.fields.items() if name not in changes} | kept
        return replace(self, body=body, fields=fields)

    @property
    def max_tokens(self) -> int | None:
        """Return the most tokens that the client wants back, or None for the model's limit."""
        return self.endpoint.max_tokens(self.body)

    @property
    def prompts(self) -> int:
        """Return how many prompts there are."""
        return self.endpoint.prompts(self.body)

    @property
    def choices(self) -> int:
        """Return how many answers were asked for: `n` for each prompt."""
        return (self.body.get("n") or 1) * self.prompts

    @property
    def generated(self) -> int:
        """Return how many answers are generated, and paid for: of `best_of` only the best come back."""
        return self.endpoint.generated(self.body) * self.prompts


class Usage(Struct, frozen=True):
    """Tokens as the upstream counted them; `cached` is the part of `prompt` that it had in its cache."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    @classmethod
    def of(cls, usage: object) -> Usage | None:
        """Read an OpenAI `usage` object; None where there is none or it is not one."""
        if not isinstance(usage, dict):
            return None
        prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        details = usage.get("prompt_tokens_details")
        cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
        return None if prompt is None else cls(prompt, cached or 0, completion or 0)


def _count(value: object) -> int | None:
    """Return a number of tokens; None for what cannot be one: an upstream can send anything."""
    return value if type(value) is int and 0 <= value < MOST_TOKENS else None


FormatKind = Literal["json_schema", "json_object", "regex", "choice", "grammar", "structural_tag"]
ConstraintKind = Literal[FormatKind, "tools"]
Backend = Literal["guidance", "xgrammar"]
"""what an engine constrains its decoding with"""
Enforcement = Literal["whole", "partial", "none", "unknown"]
"""how much of a constraint an engine's decoding enforces"""
FormatHistory = Literal["decoded", "retried", "escalated"]
"""how a request came to its present attempt: the first one, a retry that was asked differently, an escalation"""
VerdictWord = Literal["valid", "repaired", "invalid", "truncated", "refused"]


class Verdict(Struct, frozen=True):
    """What the check says of one answer. `path` (JSON Pointer) and `message` say where and why it is invalid."""

    word: VerdictWord
    message: str = ""
    path: str = ""
    kind: ConstraintKind = "json_object"
    """what was judged: of an answer that may be a call or of a form, the one that it is"""


class Reply(Struct, frozen=True):
    """What the client gets: a whole JSON `body`, or a stream of `events`: SSE payloads, those that came together."""

    body: bytes = b""
    events: AsyncIterator[list[bytes]] | None = None


class ReplicaWork(NamedTuple):
    """The seconds for which a replica was seen up, and had at least one request in flight."""

    replica: str
    up_s: float
    busy_s: float


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What a model's pool looks like now. `detail` is one line for people; empty when all replicas are up."""

    model: str
    replicas: int
    up: int
    in_flight: int
    restarts: int
    detail: str = ""
    work: Sequence[ReplicaWork] = ()
