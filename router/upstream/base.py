"""What the router needs of an HTTP client, and of a dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol

from router.config.models import Model
from router.errors import ApiError
from router.structured.engine.constrained_call import EngineFields, FormatRequest, ToolRequest
from router.types import Ability, ChatCall

MAX_BODY_BYTES = 64 * 1024 * 1024
"""of an answer: no more of it is ever kept in memory"""


class Exchange(Protocol):
    """One request whose answer's headers have come."""

    status: int
    retry_after_s: float | None

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            UpstreamTimedOut: it did not come within the time that `send` was given.
            UpstreamFailed: the connection broke, or the body is beyond all bounds.
        """
        ...

    async def next_events(self, within_s: float) -> list[bytes]:
        """Return the payloads of the server-sent events that come next; empty at the stream's end.

        Comments are no events.

        Raises:
            UpstreamTimedOut: none came within `within_s` seconds.
            UpstreamFailed: the connection broke.
        """
        ...

    def close(self) -> None:
        """Drop the connection unless the answer was read to its end. Idempotent; never waits."""
        ...


class Upstream(Protocol):
    """The one method by which the router reaches any replica."""

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

        `within_s` is for all of it, and for the body where that is read as a whole.

        Raises:
            UpstreamTimedOut: the headers did not come within `within_s` seconds.
            UpstreamFailed: it could not be reached, or the connection broke.
        """
        ...


class Dialect(ABC):
    """How one kind of engine wants to be asked, and how it says no. A dialect is one file with one registered object.

    It is also a `FormatDialect`: it writes formats and tools in its engine's fields.
    """

    name: ClassVar[str]
    """as `engine` of models.yaml names it"""
    abilities: ClassVar[frozenset[Ability]]
    """what its models can do unless models.yaml says otherwise"""
    health_path: ClassVar[str | None] = None
    """a path that costs no tokens, beside `/v1`; None: only its answers say whether it lives"""
    can_be_started: ClassVar[bool] = False
    """smallfirst can start and supervise it (`source`)"""
    has_structured_backend: ClassVar[bool] = False
    """its decoding is constrained by a backend that models.yaml can name"""
    decodes_format_beside_calls: bool = True
    """it can constrain a format and still let the model call tools"""

    @abstractmethod
    def body(self, call: ChatCall, model: Model) -> tuple[bytes, tuple[str, ...]]:
        """Return the JSON to send, and the names of the fields that this engine does not take."""

    @abstractmethod
    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        """Return the error that an answer of this status, or an error event, means to the client."""

    @abstractmethod
    def format_fields(self, request: FormatRequest) -> EngineFields:
        """Write an output format in the engine's own fields."""

    @abstractmethod
    def tool_fields(self, request: ToolRequest) -> EngineFields:
        """Write calls that must be made in the engine's own fields."""


def request_headers(model: Model, attempt_id: str) -> dict[str, str]:
    """Return the headers of a request; each attempt has its own id, as an engine may still work on the one before."""
    headers = {"Content-Type": "application/json", "X-Request-Id": attempt_id}
    if model.api_key is not None:
        headers["Authorization"] = f"Bearer {model.api_key.get_secret_value()}"
    return headers
