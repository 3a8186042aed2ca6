"""Every error that smallfirst raises on purpose.

SmallfirstError
├── ConfigError               models.yaml or a setting is wrong: the start is refused
├── BadData                   labelled calls are not as documented: nothing is learned from them
├── EngineError               a managed vLLM could not be prepared or started
└── ApiError                  the client gets it: status, type, code, param
    ├── BadRequest            400  the request itself is wrong
    │   └── NotEligible       400  this model cannot take the request; another may
    ├── AuthenticationFailed  401
    ├── NotFound              404  unknown route, model or path
    ├── BodyTooLarge          413
    ├── Overloaded            429 or 503, with Retry-After
    ├── Unavailable           503  no replica can serve now
    ├── UpstreamRejected      the upstream's own 4xx, status and body kept
    ├── UpstreamFailed        502  broken answer, lost connection, 5xx, our key refused
    ├── UpstreamTimedOut      504
    ├── LowConfidence         502  the answer is less likely to be good than the client demands
    └── StructuredOutputViolation  502  the answer does not satisfy the asked format
        └── AnswerTruncated        502  it was cut, and the client wants no cut one
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal


class SmallfirstError(Exception):
    """Root of the tree."""


class ConfigError(SmallfirstError):
    """A setting or models.yaml is wrong; the message names file, line or key, and what was expected."""


class BadData(SmallfirstError):
    """Labelled calls are not as documented; the message names file, line, field, and what was expected."""


class EngineError(SmallfirstError):
    """A managed vLLM could not be prepared or started; the message says which model and why."""


class ApiError(SmallfirstError):
    """An answer of OpenAI's error shape; `retry_after_s` becomes the Retry-After header."""

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
    """The request itself is wrong: the client must change it."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class NotEligible(BadRequest):
    """This model cannot take the request: it lacks an ability, context, or costs more than the client allows."""

    def __init__(
        self, message: str, *, reason: Literal["ability", "context", "cost"], code: str, param: str | None = None
    ) -> None:
        super().__init__(message, param=param, code=code)
        self.reason = reason


class AuthenticationFailed(ApiError):
    """No key, or a wrong one; the message never repeats it."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class NotFound(ApiError):
    """Unknown path, route or model."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class BodyTooLarge(ApiError):
    """The request body is over the limit."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class Overloaded(ApiError):
    """The gateway or the upstream has no room now; a retry later may succeed."""

    status = 503
    type = "server_error"
    code = "overloaded"


class Unavailable(ApiError):
    """No replica of the model can serve now."""

    status = 503
    type = "server_error"
    code = "model_unavailable"


class UpstreamRejected(ApiError):
    """The upstream's own 4xx: its status and its error body reach the client as they are."""

    type = "invalid_request_error"
    code = None

    def __init__(self, status: int, error: Mapping[str, Any], *, retry_after_s: float | None = None) -> None:
        super().__init__(str(error.get("message") or "the upstream refused the request"), status=status)
        self.error = dict(error)
        self.code = error.get("code") if isinstance(error.get("code"), str) else None
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """Return the upstream's error object, with the four keys that clients rely on."""
        shape = {"message": self.message, "type": self.type, "param": None, "code": None}
        return {"error": shape | {k: v for k, v in self.error.items() if v is not None}}


class UpstreamError(ApiError):
    """The upstream did not do its part. The message begins in small letters, to go on after the model's name."""

    type = "server_error"

    def of_model(self, model: str) -> None:
        """Say which model's upstream it was; the first to know does."""
        if not self.message.startswith("Model '"):
            self.message = f"Model '{model}': {self.message}"


class UpstreamFailed(UpstreamError):
    """The upstream broke: lost connection, 5xx, an answer that is no answer, or it refused our key."""

    status = 502
    code = "upstream_error"


class UpstreamTimedOut(UpstreamError):
    """The upstream did not answer in time."""

    status = 504
    code = "upstream_timeout"


class LowConfidence(ApiError):
    """An answer is less likely to be as good as the fallback's than it must be."""

    status = 502
    type = "server_error"
    code = "confidence_too_low"


class StructuredOutputViolation(ApiError):
    """An answer breaks the format that the client asked for; the client gets that of the last one.

    `kind` is what was checked, `answer` what the model wrote and `fault` what is wrong with it: the next try is told.
    """

    status = 502
    type = "server_error"
    code = "structured_output_violation"

    def __init__(self, message: str, *, kind: str = "", answer: str = "", fault: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.answer = answer
        self.fault = fault


class AnswerTruncated(StructuredOutputViolation):
    """The answer was cut, and the client wants another (`routing.on_truncation`).

    `more_room`: it was cut at the client's own limit, so the same model can be given more.
    """

    def __init__(self, message: str, *, more_room: bool) -> None:
        super().__init__(message)
        self.more_room = more_room
