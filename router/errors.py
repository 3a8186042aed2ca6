"""Every error that smallfirst raises on purpose.

SmallfirstError
├── ConfigError               models.yaml or a setting is wrong; the server does not start
├── BadData                   labelled calls are not in the documented format; nothing is learned from them
├── EngineError               a managed engine could not be prepared or started
└── ApiError                  sent to the client: status, type, code, param
    ├── BadRequest            400  the request itself is wrong
    │   └── NotEligible       400  this model cannot take the request, but another may
    ├── AuthenticationFailed  401
    ├── NotFound              404  unknown route, model or path
    ├── BodyTooLarge          413
    ├── Overloaded            503, with Retry-After
    │   └── Resting           429  its replicas want no requests for a while; they may be asked in the end
    ├── Unavailable           503  no replica can serve now
    │   ├── FailedLately       503  its replicas have failed lately; they may be asked in the end
    │   ├── NotLoaded         503  the model is not loaded; a request may wait for it
    │   └── OutsideHours      503  the model's hours are over
    ├── UpstreamRejected      the upstream's own 4xx, status and body kept
    ├── UpstreamError         the upstream did not do its part
    │   ├── UpstreamFailed    502  broken answer, lost connection, 5xx
    │   │   └── Misconfigured 502  the upstream's key, account, model name, parser or template: the operator's to mend
    │   ├── UpstreamTimedOut  504
    │   └── AnswerDiverged    502  the rest of a broken stream does not belong to its beginning
    ├── LowConfidence         502  the answer's confidence is below the client's threshold
    ├── AnswerEmpty           502  the answer has nothing for its reader, only thoughts or blanks
    └── StructuredOutputViolation  502  the answer does not satisfy the requested format
        ├── AnswerTruncated        502  the answer was truncated, and the client rejects truncated answers
        └── Runaway                502  the answer repeats itself without end, and was stopped
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Misconfiguration = Literal["key", "account", "model_name", "tool_parser", "chat_template"]
"""what the operator of an upstream must mend"""


class SmallfirstError(Exception):
    """Root of the tree."""


class ConfigError(SmallfirstError):
    """A setting or models.yaml is wrong. The message names the file, line or key, and the expected value."""


class BadData(SmallfirstError):
    """Labelled calls are not in the documented format. The message names file, line, field and the expected value."""


class EngineError(SmallfirstError):
    """A managed engine could not be prepared or started. The message names the model and the reason."""


class ApiError(SmallfirstError):
    """An error response in OpenAI's format. `retry_after_s` becomes the Retry-After header."""

    status = 500
    type = "server_error"
    code: str | None = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code
        self.status = status or self.status
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """Return the JSON body, `{"error": {...}}`."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class BadRequest(ApiError):
    """The request itself is wrong. The client must change it."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class NotEligible(BadRequest):
    """This model cannot take the request: it lacks an ability or context, or it costs more than the client allows."""

    def __init__(
        self, message: str, *, reason: Literal["ability", "context", "cost"], code: str, param: str | None = None
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.reason = reason


class AuthenticationFailed(ApiError):
    """The API key is missing or wrong. The message never contains it."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class NotFound(ApiError):
    """The path, route or model is unknown."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class BodyTooLarge(ApiError):
    """The request body exceeds the size limit."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class Overloaded(ApiError):
    """The gateway or the upstream has no capacity now. A later retry may succeed."""

    status = 503
    code = "overloaded"


class Resting(Overloaded):
    """Its replicas want no requests for a while. They may be asked if no other model answers for want of health."""

    status = 429  # what its upstream answered: a client waits and asks again
    code = "rate_limit_exceeded"


class Unavailable(ApiError):
    """No replica of the model can serve now."""

    status = 503
    code = "model_unavailable"


class FailedLately(Unavailable):
    """Breakers or late health checks keep requests from its replicas. They may be asked if no other model answers."""


class NotLoaded(Unavailable):
    """The model is loaded on demand, and is not loaded now. The client gets this if it took too long."""

    code = "model_not_loaded"


class OutsideHours(Unavailable):
    """The model runs at other hours."""

    code = "outside_hours"


class UpstreamRejected(ApiError):
    """The upstream's own 4xx. The client gets its status and its error body unchanged."""

    type = "invalid_request_error"
    code = None

    def __init__(self, status: int, error: Mapping[str, Any], *, retry_after_s: float | None = None) -> None:
        super().__init__(str(error.get("message") or "the upstream rejected the request"), status=status)
        self.error = dict(error)
        self.code = error.get("code") if isinstance(error.get("code"), str) else None
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """Return the upstream's error object, with the four keys that clients rely on."""
        shape = super().body()["error"] | {"code": None}
        return {"error": shape | {k: v for k, v in self.error.items() if isinstance(v, str) or k not in shape}}


class UpstreamError(ApiError):
    """The upstream failed. The message starts in lower case, because the model's name is put in front of it."""

    def add_model_name(self, model: str) -> None:
        """Put the model's name in front of the message, unless it is already there."""
        if not self.message.startswith("Model '"):
            self.message = f"Model '{model}': {self.message}"


class UpstreamFailed(UpstreamError):
    """The upstream lost the connection, or sent a 5xx or an invalid answer."""

    status = 502
    code = "upstream_error"


class Misconfigured(UpstreamFailed):
    """The upstream refused what every request of this kind has. `kind` says what the operator must mend.

    `refusal` is the upstream's own, for the log and `/ready`. Only clients that asked for this very model get it.
    """

    code = "upstream_misconfigured"

    def __init__(self, kind: Misconfiguration, refusal: UpstreamRejected | None = None) -> None:
        super().__init__(_MISCONFIGURED[kind], code="upstream_auth_failed" if kind == "key" else None)
        self.kind = kind
        self.refusal = refusal

    @property
    def told(self) -> str:
        """Return what the upstream said."""
        return self.refusal.message if self.refusal else ""


_MISCONFIGURED: Mapping[Misconfiguration, str] = {
    "key": "the upstream refused this gateway's key",
    "account": "this gateway's account at the upstream is empty or blocked",
    "model_name": "the upstream does not know the model by the configured name",
    "tool_parser": "the upstream is started without a parser for tool calls",
    "chat_template": "the upstream's model has no chat template",
}


class UpstreamTimedOut(UpstreamError):
    """The upstream did not answer in time."""

    status = 504
    code = "upstream_timeout"


class AnswerDiverged(UpstreamError):
    """A stream broke off, and the answer that was to go on from there is another one. No replica is at fault."""

    status = 502
    code = "upstream_error"


class LowConfidence(ApiError):
    """The probability that the answer is as good as the fallback's is below the threshold."""

    status = 502
    code = "confidence_too_low"


class AnswerEmpty(ApiError):
    """The answer has nothing for its reader: no visible character, no call, no refusal.

    `only_thoughts` is true if the model thought, and ended before it began to answer. `room` is the token limit with
    which the same model can be asked again, because the client's own limit cut the answer; None: that would not help.
    """

    status = 502
    code = "empty_answer"

    def __init__(self, message: str, *, only_thoughts: bool, room: int | None) -> None:
        super().__init__(message)
        self.only_thoughts = only_thoughts
        self.room = room


class StructuredOutputViolation(ApiError):
    """An answer violates the requested format. The client gets the violation of the last attempt.

    `kind` is the format that was checked, `answer` the model's text and `fault` what is wrong with it. A retry's
    prompt contains them.
    """

    status = 502
    code = "structured_output_violation"

    def __init__(self, message: str, *, kind: str = "", answer: str = "", fault: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.answer = answer
        self.fault = fault


class AnswerTruncated(StructuredOutputViolation):
    """The answer was truncated, and the client wants another one (`routing.on_truncation`).

    `more_room` is true if the client's own limit truncated it, so the same model can get a higher one.
    """

    def __init__(self, message: str, *, more_room: bool) -> None:
        super().__init__(message)
        self.more_room = more_room


class Runaway(StructuredOutputViolation):
    """The answer repeats itself, so it would only end at the token limit. It was stopped before.

    `kind` is empty if no format is requested: then another model is asked, as the same one would repeat itself again.
    """

    def __init__(self, message: str, *, kind: str = "", answer: str = "", fault: str = "") -> None:
        super().__init__(message, kind=kind, answer=answer, fault=fault)
        if not kind:
            self.code = "endless_answer"
