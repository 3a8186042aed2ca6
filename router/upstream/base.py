"""The interfaces of HTTP clients and dialects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from router.config.models import Model
from router.errors import ApiError
from router.messages.answer import write
from router.messages.error_inside import status_of
from router.structured.engine.constrained_call import EngineFields, FormatRequest, ToolRequest
from router.types import Ability, ChatCall
from router.upstream.continuation import Beginning, continued_messages, continued_prompt

MAX_BODY_BYTES = 64 * 1024 * 1024
"""the longest answer that is kept in memory"""
NOT_STREAMED = ("best_of", "prompt_logprobs", "use_beam_search")
"""fields with which engines refuse to stream"""
Rewrite = Callable[[bytes], bytes]
"""takes a whole answer, or one event of a stream, and returns it in OpenAI's form"""


class Exchange(Protocol):
    """One request to an upstream, after the headers of its answer have arrived."""

    status: int
    retry_after_s: float | None

    @property
    def is_stream(self) -> bool:
        """Return whether the body consists of server-sent events."""
        ...

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            UpstreamTimedOut: the body did not arrive within the `within_s` of `send`.
            UpstreamFailed: the connection broke, or the body is too long.
        """
        ...

    async def next_events(self, within_s: float) -> list[bytes]:
        """Return the payloads of the next server-sent events, or an empty list at the end of the stream.

        Comments are skipped.

        Raises:
            UpstreamTimedOut: no event arrived within `within_s` seconds.
            UpstreamFailed: the connection broke.
        """
        ...

    def close(self) -> None:
        """Close the connection unless the answer was read to its end. Idempotent; it does not block."""
        ...


class Upstream(Protocol):
    """The HTTP client of the router. All requests to replicas use it."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        connect_s: float,
        within_s: float,
    ) -> Exchange:
        """Send a request and wait for the answer's headers. `url` is http(s):// or unix:/socket:/path.

        `within_s` limits connecting and waiting for the headers. If the body is read as a whole, it includes the body.

        Raises:
            UpstreamTimedOut: the headers did not arrive within `within_s` seconds.
            UpstreamFailed: the replica could not be reached, or the connection broke.
        """
        ...


class Dialect(ABC):
    """The request and error format of one kind of engine. A dialect is one file with one registered class.

    It is also a `FormatDialect`: it writes formats and tools in the fields of its engine.
    """

    name: ClassVar[str]
    """the value of `engine` in models.yaml"""
    abilities: ClassVar[frozenset[Ability]]
    """the default `abilities` of its models"""
    health_path: ClassVar[str | None] = None
    """the path of the health check, outside `/v1`; None: only its answers show whether the server is up"""
    can_be_started: ClassVar[bool] = False
    """whether smallfirst can start and supervise the engine (`source`)"""
    loads_adapters: ClassVar[bool] = False
    """whether smallfirst can load adapters into an engine that it has started (`adapters`)"""
    can_be_attached: ClassVar[bool] = True
    """whether the engine may already run elsewhere (`base_url`)"""
    arguments_key: ClassVar[str | None] = None
    """the key of models.yaml with the engine's own arguments"""
    has_structured_backend: ClassVar[bool] = False
    """whether `structured_backend` in models.yaml applies to the engine"""
    decodes_format_beside_calls: bool = True
    """whether the engine can constrain a format and still let the model call tools"""
    refuses_long_prompts: ClassVar[bool] = True
    """whether the engine refuses prompts that exceed its context; otherwise its models need a `context`, and only
    prompts that should fit are sent"""
    has_one_choice: ClassVar[bool] = False
    """whether the engine returns a single answer, whatever `n` and however many prompts a request has"""
    has_one_slot: ClassVar[bool] = False
    """whether the engine serves one request after the other, so that an idle replica is better than a cached prefix"""
    continues_messages: ClassVar[bool] = False
    """whether its models go on from a trailing assistant message, unless `prefill` in models.yaml says otherwise"""
    tokenize_path: ClassVar[str | None] = None
    """the path, outside `/v1`, that counts the tokens of a text as vLLM does; None: there is none"""
    repeats_messages: ClassVar[bool] = False
    """whether such an answer begins with the text of that message"""

    def headers(self, model: Model, attempt_id: str) -> dict[str, str]:
        """Return the headers of a request. Each attempt has an id: the engine may still work on the previous one."""
        headers = {"Content-Type": "application/json", "X-Request-Id": attempt_id}
        if model.api_key is not None:
            key = model.api_key.get_secret_value()
            if model.api_key_header is None:
                headers["Authorization"] = f"Bearer {key}"
            else:
                headers[model.api_key_header] = key
        for name, value in model.headers.items():
            headers[name] = value.get_secret_value()
        return headers

    def limits(self, model: Model) -> tuple[str, ...]:
        """Return what the engine cannot do although OpenAI's API has it, for `smallfirst check` and `/ready`."""
        return ()

    def repetition_fields(self, tokens: int) -> Mapping[str, Any]:
        """Return the fields with which the engine stops an answer that repeats itself for so many tokens, if it can."""
        return {}

    def can_stream(self, call: ChatCall) -> bool:
        """Return whether the engine streams the same answer to this call that it would give as a whole."""
        return not any(call.body.get(name) for name in NOT_STREAMED)

    @abstractmethod
    def body(self, call: ChatCall, model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the fields to send, and what was changed for this engine, such as `top_k=dropped`."""

    def rewrite(self, call: ChatCall) -> Rewrite | None:
        """Return how this call's answer is brought into OpenAI's form; None: the engine's answers have that form."""
        return None

    def continuation(self, call: ChatCall, model: Model, beginning: Beginning) -> Mapping[str, Any] | None:
        """Return the changed fields with which the model goes on from the beginning of an answer; None: it cannot.

        A field that is None is removed.
        """
        if not call.endpoint.has_messages:
            return continued_prompt(call, beginning)
        if not (self.continues_messages if model.prefill is None else model.prefill):
            return None
        # a server that knows nothing of thoughts could refuse them
        messages = continued_messages(call, Beginning(beginning.text), joins=True)
        return None if messages is None else {"messages": messages}

    @abstractmethod
    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        """Return the error for the client that an error status, or an error event, leads to."""

    def error_inside(self, model: Model, error: object) -> ApiError:
        """Return the error for the client that an error inside an answer with status 200 leads to."""
        return self.refusal(model, status_of(error), write({"error": error}), None)

    @abstractmethod
    def format_fields(self, request: FormatRequest) -> EngineFields:
        """Write an output format in the fields of the engine."""

    @abstractmethod
    def tool_fields(self, request: ToolRequest) -> EngineFields:
        """Write required tool calls in the fields of the engine."""
