"""What upstreams fail with, and a form that answers keep or break."""

from __future__ import annotations

from router.errors import UpstreamFailed

UNREACHABLE = UpstreamFailed("the upstream could not be reached", code="upstream_unreachable")
CUT = UpstreamFailed("the upstream closed the connection without an answer")
PERSON = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
AS_PERSON = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
GOOD, BAD = '{"age": 42}', '{"age": "old"}'
FULL = {"error": {"message": "full"}}
TOO_LONG = {"error": {"message": "This model's maximum context length is 2048 tokens.", "code": 400}}
