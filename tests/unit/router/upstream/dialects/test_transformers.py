"""The dialect of our own server for transformers models."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from router.config.model_options import Timeouts, TransformersArgs
from router.config.models import Model
from router.errors import ApiError, ConfigError, Overloaded, UpstreamRejected
from router.load_config import load
from router.upstream.dialects.transformers import TransformersDialect
from tests.support.fakes import call

DIALECT = TransformersDialect()


def model(**fields: Any) -> Model:
    return Model(name="tiny", tier="slm", engine="transformers", source="owner/model", **fields)


def refused(status: int, code: str) -> ApiError:
    body = {"error": {"message": "no", "type": "invalid_request_error", "param": "messages", "code": code}}
    return DIALECT.refusal(model(), status, json.dumps(body).encode(), None)


def test_fields_that_the_server_does_not_read_are_dropped_and_named() -> None:
    asked = call(top_k=3, priority=1, user="me", functions=[])
    fields, adapted = DIALECT.body(asked, model())
    assert adapted == ("functions=dropped", "priority=dropped", "user=dropped")
    sent = json.loads(msgspec.json.encode(fields))
    assert sent["top_k"] == 3
    assert not sent.keys() & {"functions", "priority", "user"}
    assert asked.body["priority"] == 1, "the client's own body is unchanged"


def test_messages_of_developers_are_the_systems() -> None:
    fields, adapted = DIALECT.body(call(messages=[{"role": "developer", "content": "x"}]), model())
    assert json.loads(msgspec.json.encode(fields))["messages"] == [{"role": "system", "content": "x"}]
    assert adapted == ()


def test_its_refusals() -> None:
    too_long = refused(400, "context_length_exceeded")
    assert isinstance(too_long, UpstreamRejected)
    assert too_long.code == "context_length_exceeded"
    assert refused(400, "unsupported_schema").code == "unsupported_schema"
    assert isinstance(refused(503, "overloaded"), Overloaded), "a queue that is too long says nothing against a replica"


def test_its_limits_are_told() -> None:
    told = "; ".join(DIALECT.limits(model(timeouts=Timeouts(first_byte_s=20))))
    assert "one request at a time for each replica; others wait up to 10 s" in told
    assert "no tool parser" in told
    assert "own code" not in told
    trusting = model(transformers_args=TransformersArgs(trust_remote_code=True))
    assert "runs the model's own code" in DIALECT.limits(trusting)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            "engine: transformers, base_url: http://h/v1",
            "`engine: transformers` needs `source`; write `engine: openai`",
        ),
        (
            "engine: transformers, source: a/b, vllm_args: {dtype: float32}",
            "`vllm_args` is only for `engine: vllm`; write `transformers_args`",
        ),
        (
            "engine: vllm, source: a/b, transformers_args: {dtype: float32}",
            "`transformers_args` is only for `engine: transformers`; write `vllm_args`",
        ),
        (
            "engine: transformers, source: a/b, structured_backend: guidance",
            "`structured_backend` is only for `engine: vllm`",
        ),
        (
            "engine: transformers, source: a/b, transformers_args: {trust: true}",
            "models.m.transformers_args.trust: unknown key; expected one of dtype, ",
        ),
        ("engine: transformers, source: a/b, transformers_args: {dtype: int4}", "models.m.transformers_args.dtype: "),
        (
            "engine: transformers, source: a/b, transformers_args: {gpu_memory_utilization: 2}",
            "models.m.transformers_args.gpu_memory_utilization: ",
        ),
    ],
)
def test_what_models_yaml_may_not_say(tmp_path: Any, fields: str, message: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(f"models:\n  m: {{tier: slm, {fields}}}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {}, gpu=False)
    assert f"{path}:2: " in str(caught.value)
    assert message in str(caught.value)
