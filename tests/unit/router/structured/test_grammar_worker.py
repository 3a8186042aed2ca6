"""What one worker process does, and what it gets of the gateway."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema_rs import validator_for

from router.structured.answer.check import check_message
from router.structured.constraint import CallConstraint, Constraint, OutputFormat, Schema, Tool
from router.structured.workers.grammar_workers import (
    CheckResult,
    Fault,
)
from tests.support.grammars import worker_pids

CALL = {"id": "b", "type": "function", "function": {"name": "f", "arguments": '{"a":3}'}}


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_heavy_schemas_and_what_breaks_them(workers):
    schema = '{"type":"object","properties":{"a":{"type":"integer"}}}'
    assert await workers.schema_fault(schema) is None
    assert await workers.schema_fault('{"properties":{"a":{"type":"int"}}}') == Fault(
        "/properties/a/type", '"int" is not a type of JSON Schema'
    )
    assert await workers.instance_fault(schema, '{"a":3}') is None
    fault = await workers.instance_fault(schema, '{"a":"x"}')
    assert fault is not None
    assert fault.path == "/a"


@pytest.mark.parametrize(
    ("message", "finding"),
    [
        ({"content": '{"a":3}'}, CheckResult("json_schema")),
        ({"content": '```\n{"a":3}\n```'}, CheckResult("json_schema", changes={"content": '{"a":3}'})),
        ({"content": '{"b":3}'}, CheckResult("json_schema", Fault("", '"a" is a required property'))),
        ({"content": '{"a":'}, CheckResult("json_schema", finish_reason="length")),
        ({"tool_calls": [CALL]}, CheckResult("tools")),
    ],
)  # fmt: skip
async def test_a_long_message_is_checked_as_a_short_one_is(workers, message, finding):
    value = {"properties": {"a": {"type": "integer"}}, "required": ["a"]}
    schema = Schema(json.dumps(value), value, validator_for(value))
    constraint = Constraint(
        OutputFormat("json_schema", "response_format", schema), CallConstraint({"f": Tool("f", schema)})
    )
    assert await workers.check_message(constraint, message, at_limit=True) == finding
    assert await check_message(constraint, message, workers, at_limit=True) == finding


async def test_a_process_gets_none_of_the_gateways_secrets(workers, monkeypatch):
    monkeypatch.setenv("SMALLFIRST_API_KEYS", "secret")
    await workers.match("regex", "a", "a")
    assert b"secret" not in environment(worker_pids()[0])


def test_a_process_keeps_none_of_the_gateways_sockets():
    request = json.dumps(["grammar_fault", "regex", "a"]).encode()
    command = (sys.executable, "-m", "router.structured.grammar_worker", "2")
    with socket.socket() as listening:
        listening.set_inheritable(True)
        process = subprocess.Popen(command, close_fds=False, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        process.stdin.write(len(request).to_bytes(4) + request)
        process.stdin.flush()
        assert process.stdout.read(8) == b"\0\0\0\4null"
        assert sorted(os.listdir(f"/proc/{process.pid}/fd")) == ["0", "1", "2"]
        process.stdin.close()
        assert process.wait() == 0
