"""Decode and validate the client's bytes as a ChatCall. Values stay as sent, but for what `normalise` changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import ValidationError

from router.errors import BadRequest
from router.messages import strict_json
from router.structured.request.spellings import is_asked, read_field
from router.types import ChatCall, RoutingOptions
from server.endpoints.normalise import normalise
from server.endpoints.registry import TextEndpoint
from server.endpoints.validation_errors import bad_request

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MAX_ENTRIES = {"messages": 10_000, "tools": 1_000, "functions": 1_000, "logit_bias": 10_000}
"""the most entries of a field; validating more would block other requests for too long"""


def decode(served: TextEndpoint, raw: bytes, model: str | None = None) -> ChatCall:
    """Turn a request's body into a call. `model` is the one that the path names; it takes the place of the body's.

    Raises:
        BadRequest: the body is not a JSON object (`invalid_json`), or a field is invalid (`param` names it).
    """
    body = _parse(raw)
    if model is not None:
        body["model"] = model
    _check_sizes(body)
    changes = normalise(body, served.endpoint.prompt_field)
    try:
        served.request.__pydantic_validator__.validate_python(body)
    except ValidationError as error:
        raise bad_request(error) from None
    served.rules(body)
    if served.endpoint.returns_choices:
        _check_common_rules(body)
    elif body.get("stream"):
        raise BadRequest("'stream' is not supported by this endpoint.", param="stream", code="unsupported_parameter")
    fields = _FIELDS.decode(raw)
    fields.pop("routing", None)
    if model is not None:
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    if changes:
        changes.apply(fields)
    routing = {key: value for key, value in (body.pop("routing", None) or {}).items() if value is not None}
    stream = body.get("stream") is True
    return ChatCall(
        endpoint=served.endpoint,
        model=body["model"],
        body=body,
        fields=fields,
        size=len(raw),
        stream=stream,
        include_usage=stream and (body.get("stream_options") or {}).get("include_usage") is True,
        routing=RoutingOptions(**routing),
        adapted=changes.adapted if changes else (),
    )


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        body = strict_json.decode(raw)
    except UnicodeDecodeError as error:
        raise _invalid_json(f"not UTF-8 (byte {error.start})") from None
    except strict_json.NotJson as error:
        raise _invalid_json("empty" if not raw.strip() else f"not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise _invalid_json("not a JSON object")
    return body


def _invalid_json(reason: str) -> BadRequest:
    return BadRequest(f"The request body is {reason}; expected a JSON object.", code="invalid_json")


def _check_sizes(body: Mapping[str, Any]) -> None:
    for name in _MAX_ENTRIES.keys() & body.keys():
        value, limit = body[name], _MAX_ENTRIES[name]
        if isinstance(value, list | dict) and len(value) > limit:
            raise BadRequest(
                f"Invalid '{name}': too long. Expected at most {limit} entries, but got {len(value)}.",
                param=name,
                code="array_above_max_length",
            )


def _check_common_rules(body: Mapping[str, Any]) -> None:
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise BadRequest("'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    if (wanted := body.get("response_format")) is not None and is_asked("response_format", wanted):
        read_field("response_format", wanted)
