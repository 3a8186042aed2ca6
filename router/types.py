"""The types that all packages share: requests, replies and verdicts.

Types that every request creates are msgspec Structs: creating one takes a fifth of the time of a dataclass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

MAX_TOKEN_COUNT = 2**40
NANO = 1_000_000_000
"""nano-dollars per dollar, and nanoseconds per second"""

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
    "runaway",
    "cost",
    "confidence",
    "only_thoughts",
    "empty",
    "policy",
    "hours",
    "rejected",
    "misconfigured",
]
ESCALATION_REASONS: Mapping[EscalationReason, str] = {
    "unavailable": "No replica of the model could take the request, none could be reached, or the model was not loaded "
    "in time.",
    "timeout": "The model did not answer in time, or the upstream answered with status 408 or 504.",
    "upstream_error": "The upstream sent another 5xx status, or a broken or cut answer.",
    "overloaded": "The upstream answered with status 429, 503 or 529: it has no room now.",
    "context": "The prompt does not fit into the model's context.",
    "ability": "According to models.yaml, the model lacks a capability that the request needs.",
    "structured": "The answer did not have the required format, and neither had the retry's.",
    "truncated": "The token limit cut the answer, and the client set `routing.on_truncation: retry`.",
    "runaway": "The answer repeated itself without end, and was stopped. With a required format, so was the retry's.",
    "cost": "The model is more expensive than the client's `routing.max_cost_usd` allows.",
    "confidence": "The answer is too likely to be worse than the fallback's.",
    "only_thoughts": "The model thought, and ended before it began to answer: the answer has nothing but thoughts.",
    "empty": "The answer has no visible character, and no call.",
    "policy": "The policy chose a higher rung as the first one.",
    "hours": "The model's `hours` are over, or nearly over.",
    "rejected": "The upstream refused the request with another 4xx status, also after what it named was changed.",
    "misconfigured": "The upstream is not set up for the request: it refused our API key, does not know the model's "
    "name, has an empty account, or lacks a tool parser or a chat template. The log and `/ready` say which.",
}
"""the meaning of each reason; docs/reference/reasons.md is generated from it"""

Want = Literal[
    "alternating_roles",
    "no_developer",
    "no_system",
    "system_first",
    "text_content",
    "call_ids_40",
    "call_ids_9",
    "json_word",
    "any_of",
    "defs",
]
"""a form of messages or schemas that a model's upstream wants; `router.profile` has each"""
ASKED_DIFFERENTLY: frozenset[EscalationReason] = frozenset(
    {"structured", "truncated", "runaway", "ability", "only_thoughts", "empty"}
)
"""the next attempt differs: its prompt names the fault, it has a higher token limit, or it omits what was refused"""


class RoutingOptions(Struct, frozen=True):
    """The body's `routing` object: the client's options for one call. None: not set."""

    policy: str | None = None
    max_cost_usd: float | None = None
    min_confidence: float | None = None
    """the probability, 0 to 1, that an accepted answer must at least have of being as good as the fallback's"""
    task: str | None = None
    """the client's own name for requests of the same kind"""
    allow_fallback: bool = True
    deadline_ms: int | None = None
    hold: StreamHold | None = None
    """how much of a stream is held back until its confidence is judged"""
    stream_check: Literal["hold", "prefix"] | None = None
    """how an unverified stream is sent: after its check, or at once while it can still become valid"""
    clamp_max_tokens: bool | None = None
    """False: a limit on tokens that does not fit into the context is refused, not lowered"""
    on_truncation: Literal["accept", "retry"] | None = None
    """what happens to a formatted answer that the token limit cut"""
    midstream: Literal["continue", "error"] | None = None
    """what happens to a stream that breaks off after its beginning"""


class Endpoint(ABC):
    """What the router needs to know of one of OpenAI's endpoints: path, prompt, limits and answers.

    `body` is the JSON of a request. `server.endpoints` has the request types and serves the endpoints.
    """

    path: ClassVar[str]
    """the path below `/v1/`, here and at the upstream"""
    prompt_field: ClassVar[str]
    """the field that contains the prompt"""
    abilities: ClassVar[frozenset[Ability]] = frozenset()
    """the abilities that a model needs to serve it"""
    has_messages: ClassVar[bool] = False
    """whether `prompt_field` is a list of messages"""
    takes_tools: ClassVar[bool] = False
    returns_choices: ClassVar[bool] = True
    """whether its answers are choices of text, which can be streamed, checked and judged"""
    logprobs_fields: ClassVar[Mapping[str, Any]] = {}
    """the fields that request the logprob of each token"""
    unread_choice_fields: ClassVar[frozenset[str]] = frozenset()
    """fields of a choice that belong to another endpoint; some upstreams send them here, too"""

    def max_tokens(self, body: Mapping[str, Any]) -> int | None:
        """Return the client's limit on generated tokens, or None if it set none."""
        return body.get("max_tokens") if self.returns_choices else 0

    def prompts(self, body: Mapping[str, Any]) -> int:
        """Return the number of prompts; each has its own choices."""
        return 1

    def generated(self, body: Mapping[str, Any]) -> int:
        """Return the number of answers that are generated for each prompt; all are paid for."""
        return body.get("n") or 1

    def messages(self, body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the messages, or nothing if the endpoint has none."""
        return body[self.prompt_field] if self.has_messages else ()

    @abstractmethod
    def parse(self, answer: bytes, choices: int) -> dict[str, Any]:
        """Decode a whole answer with the requested number of choices.

        Raises:
            UpstreamFailed: the answer is incomplete or invalid.
        """


class ChatCall(Struct, frozen=True):
    """One request for text, decoded and validated, not yet bound to a model. `body` must not be modified."""

    endpoint: Endpoint
    model: str
    body: Mapping[str, Any]
    """the client's JSON without `routing` and empty fields; unknown fields are kept"""
    fields: Mapping[str, Any]
    """the fields of `body` as the client's bytes (`Raw`): unchanged fields are forwarded byte for byte"""
    size: int
    """length of the client's body in bytes"""
    stream: bool = False
    include_usage: bool = False
    """whether the client asked for the usage event at the end of the stream"""
    routing: RoutingOptions = RoutingOptions()
    is_assembled: bool = False
    """whether the answer is read as a stream, but assembled, because the client wants it whole"""
    adapted: tuple[str, ...] = ()
    """what was changed in the client's request, whichever model is asked; for the header `x-smallfirst-adapted`"""

    def replaced(self, changes: Mapping[str, Any]) -> ChatCall:
        """Return the call with some fields replaced; None removes a field."""
        body, fields = {**self.body, **changes}, {**self.fields, **changes}
        for name, value in changes.items():
            if value is None:
                del body[name], fields[name]
        return replace(self, body=body, fields=fields)

    @property
    def max_tokens(self) -> int | None:
        """Return the client's limit on generated tokens, or None if it set none."""
        return self.endpoint.max_tokens(self.body)

    @property
    def prompts(self) -> int:
        """Return the number of prompts."""
        return self.endpoint.prompts(self.body)

    @property
    def choices(self) -> int:
        """Return the number of requested answers: `n` for each prompt."""
        return (self.body.get("n") or 1) * self.prompts

    @property
    def generated(self) -> int:
        """Return the number of answers that are generated and paid for. With `best_of`, only the best are returned."""
        return self.endpoint.generated(self.body) * self.prompts


class Usage(Struct, frozen=True):
    """The upstream's token counts. `cached` is the part of `prompt` that was in its cache. See `messages.usage`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


FormatKind = Literal["json_schema", "json_object", "regex", "choice", "grammar", "structural_tag"]
ConstraintKind = Literal[FormatKind, "tools"]
Backend = Literal["guidance", "xgrammar"]
"""the library that constrains an engine's decoding"""
Enforcement = Literal["whole", "partial", "none", "unknown"]
"""how much of a constraint an engine's decoding enforces"""
FormatHistory = Literal["decoded", "retried", "escalated"]
"""how the answer was obtained: on the first attempt, after a changed retry, or after an escalation"""
VerdictWord = Literal["valid", "repaired", "invalid", "truncated", "refused"]


class Verdict(Struct, frozen=True):
    """The result of checking one answer. `path` (JSON Pointer) and `message` say where and why it is invalid."""

    word: VerdictWord
    message: str = ""
    path: str = ""
    kind: ConstraintKind = "json_object"
    """the constraint that was checked; if calls and a format are both possible, the one that the answer chose"""


class Reply(Struct, frozen=True):
    """The reply to the client: a whole JSON `body`, or `events`: lists of SSE payloads that arrived together."""

    body: bytes = b""
    events: AsyncIterator[list[bytes]] | None = None


LoadPhase = Literal["unloaded", "loading", "loaded", "draining"]
UnloadReason = Literal["swap", "idle", "hours", "failed"]
"""why a model is unloaded: another one needs its place, nobody asks it, its hours are over, it could not be loaded"""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The current state of a model that is not always loaded."""

    phase: LoadPhase
    may_wait: bool
    """whether a request for it would wait until it is loaded"""
    waiting: int
    """the requests that wait for it"""
    loads: int
    """how often it was loaded"""
    unloads: Mapping[UnloadReason, int]


class ReplicaWork(NamedTuple):
    """Seconds of one replica: up, with at least one request in flight, and paid for if its price is by the hour."""

    replica: str
    up_s: float
    busy_s: float
    paid_s: float


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The current state of a model's pool. `detail` is one line for people; it is empty if all replicas are up."""

    model: str
    replicas: int
    up: int
    in_flight: int
    restarts: int
    detail: str = ""
    work: Sequence[ReplicaWork] = ()
    load: LoadReport | None = None
    """None: the model is always loaded"""
    learned: Sequence[str] = ()
    """how its upstream wants requests to be changed, as its refusals have taught"""
    misconfigured: Sequence[str] = ()
    """what the operator of its upstream must mend"""

    @property
    def expected(self) -> int:
        """Return the number of replicas that should be up: none of a model that is not loaded, on purpose."""
        return self.replicas if self.load is None or self.load.phase == "loaded" else 0

    @property
    def can_answer(self) -> bool:
        """Return whether a request can be answered, if need be after the model was loaded."""
        return self.up > 0 or (self.load is not None and self.load.may_wait)
