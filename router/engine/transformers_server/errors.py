"""The one error that is sent to the caller."""

from __future__ import annotations

from typing import Any


class RequestError(Exception):
    """An error response in OpenAI's format."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str = "invalid_value", status: int = 400
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status

    def body(self) -> dict[str, Any]:
        """Return the JSON body, `{"error": {...}}`."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def unsupported_format(message: str, param: str) -> RequestError:
    """Return the error for a format that decoding cannot enforce. The gateway then asks for it in the prompt."""
    return RequestError(message, param=param, code="unsupported_schema")
