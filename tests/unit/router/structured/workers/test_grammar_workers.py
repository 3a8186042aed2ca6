"""Grammar libraries in processes that can be killed. The processes are real."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema_rs import validator_for

from router.structured.answer.check import check_message
from router.structured.constraint import CallConstraint, Constraint, OutputFormat, Schema, Tool
from router.structured.engine import xgrammar_lite
from router.structured.workers.grammar_workers import (
    CheckResult,
    Fault,
    GrammarSupport,
    GrammarWorkers,
    Match,
    WorkLimitExceeded,
)

TAG = json.dumps(
    {"structures": [{"begin": "<call>", "schema": {"type": "integer"}, "end": "</call>"}], "triggers": ["<call"]}
)
CALL = {"id": "b", "type": "function", "function": {"name": "f", "arguments": '{"a":3}'}}
ENDLESS = 'start: a\na: "a" | "aa" | a a'
"""so ambiguous that a thousand letters take a minute"""


@pytest.fixture
async def workers():
    made = GrammarWorkers()
    yield made
    await made.close()


@pytest.fixture
async def hasty():
    made = GrammarWorkers(limit_s=1)
    yield made
    await made.close()


def benches() -> list[int]:
    """Return the grammar worker processes that run now: children of this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid() and b"router.structured.grammar_worker" in words:
            found.append(int(folder.name))
    return found


async def is_busy() -> int:
    """Wait for a process to have begun with a request that never ends; return its id."""
    while True:
        for pid in benches():
            if cpu_ticks(pid) > 60:  # starting takes 20
                return pid
        await asyncio.sleep(0.02)


def cpu_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize(
    ("kind", "source", "guidance", "xgrammar"),
    [
        ("json_schema", '{"type":"object","properties":{"a":{"type":"integer"}}}', "whole", "whole"),
        ("json_schema", '{"type":"string","maxLength":3}', "whole", "partial"),
        ("json_schema", '{"type":"string","format":"date"}', "partial", "partial"),
        ("json_schema", '{"type":"array","contains":{"const":1}}', "partial", "none"),
        ("json_schema", '{"not":{"type":"null"}}', "partial", "partial"),
        ("json_schema", '{"x-guidance":{"lenient":true},"not":{"type":"null"}}', "partial", "partial"),
        ("json_schema", '{"type":"integer","minimum":5,"maximum":3}', "none", "none"),
        ("json_object", "", "whole", "whole"),
        ("regex", "[a-f]{2,8}", "whole", "whole"),
        ("regex", "a(?=b)", "none", "none"),
        ("choice", '["yes","no \\"é\\"\\n"]', "whole", "whole"),
        ("grammar", 'root ::= "a" root | "b"', "whole", "whole"),
        ("grammar", 'start: "a"+ "b"', "whole", "whole"),
        ("grammar", 'root ::= "a" other', "none", "none"),
        ("structural_tag", TAG, "partial", "none"),
        ("structural_tag", TAG.replace('["<call"]', '["<call>"]'), "none", "none"),
    ],
)  # fmt: skip
async def test_how_much_of_a_form_decoding_enforces(workers, kind, source, guidance, xgrammar):
    found = [(await workers.grammar_support(backend, kind, source)).enforcement for backend in ("guidance", "xgrammar")]
    assert found == [guidance, xgrammar]


def test_without_xgrammar_nothing_of_it_is_enforced(monkeypatch):
    monkeypatch.setattr(xgrammar_lite, "load", lambda: None)
    assert xgrammar_lite.grammar_support("json_object", "") == GrammarSupport("none", "xgrammar is not installed")


async def test_partial_and_none_say_why(workers):
    assert await workers.grammar_support("guidance", "json_schema", '{"not":{}}') == GrammarSupport(
        "partial", 'Unimplemented keys: ["not"]', lenient=True
    )
    assert await workers.grammar_support("xgrammar", "json_schema", '{"not":{}}') == GrammarSupport(
        "partial", "not is not enforced"
    )


@pytest.mark.parametrize(
    ("kind", "source", "text", "word"),
    [
        ("regex", "[a-z]+é?", "abcé", "valid"),
        ("regex", "[a-z]+é?", "", "incomplete"),
        ("regex", "[a-z]+é?", "abcéd", "invalid"),
        ("regex", "(a|b)+", "ab\n", "invalid"),
        ("regex", "😀{2}", "😀", "incomplete"),
        ("regex", "(.|\n)*", "\ud800", "invalid"),
        ("grammar", 'root ::= "(" root ")" | "x"', "((x))", "valid"),
        ("grammar", 'root ::= "(" root ")" | "x"', "((x)", "incomplete"),
        ("grammar", 'start: "a"+ "b"', "aaba", "invalid"),
        ("choice", '["yes","yes, sir",""]', "yes", "valid"),
        ("choice", '["yes","yes, sir",""]', "", "valid"),
        ("choice", '["yes","yes, sir",""]', "yes,", "incomplete"),
        ("structural_tag", TAG, "no call", "valid"),
        ("structural_tag", TAG, "Well: <call>3</call>.", "valid"),
        ("structural_tag", TAG, "Well: <call>3", "incomplete"),
        ("structural_tag", TAG, 'Well: <call>"3"</call>.', "invalid"),
    ],
)
async def test_a_text_against_a_grammar(workers, kind, source, text, word):
    assert await workers.grammar_fault(kind, source) is None
    assert (await workers.match(kind, source, text)).status == word


async def test_what_does_not_match_is_told_in_characters(workers):
    assert await workers.match("regex", "é*", "ééx") == Match(
        "invalid", "it does not match the regex after 2 characters"
    )


async def test_long_texts_match(workers):
    assert await workers.match("regex", "(é|x)*", "é" * 100_000) == Match("valid")
    assert (await workers.match("grammar", 'root ::= "(" root ")" | "x"', "(" * 50_000 + "x")).status == "incomplete"


@pytest.mark.parametrize(
    ("kind", "source", "part"),
    [
        ("regex", "(", "unclosed group"),
        ("regex", r"(a)\1", "backreferences"),
        ("grammar", "no grammar at all", "GBNF"),
        ("grammar", 'start: "a" missing', "missing"),
        ("structural_tag", "[]", "expected an object"),
        ("structural_tag", "{", "Expecting property name"),
        ("structural_tag", '{"structures": [], "triggers": []}', "empty"),
        ("structural_tag", TAG.replace('["<call"]', '["<tool"]'), "no trigger begins '<call>'"),
        ("structural_tag", TAG.replace('"integer"', '"nonsense"'), "nonsense"),
    ],
)
async def test_what_is_no_grammar(workers, kind, source, part):
    assert part in await workers.grammar_fault(kind, source)


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
async def test_a_long_message_is_judged_as_a_short_one_is(workers, message, finding):
    value = {"properties": {"a": {"type": "integer"}}, "required": ["a"]}
    schema = Schema(json.dumps(value), value, validator_for(value))
    constraint = Constraint(
        OutputFormat("json_schema", "response_format", schema), CallConstraint({"f": Tool("f", schema)})
    )
    assert await workers.check_message(constraint, message, at_limit=True) == finding
    assert await check_message(constraint, message, workers, at_limit=True) == finding


async def test_what_never_ends_is_given_up_and_what_waited_is_done(hasty):
    hanging = [asyncio.create_task(hasty.match("grammar", ENDLESS, "a" * 2_000)) for _ in range(2)]
    assert await hasty.match("regex", "a+", "aa") == Match("valid")
    assert [type(error) for error in await asyncio.gather(*hanging, return_exceptions=True)] == [WorkLimitExceeded] * 2


async def test_a_schema_that_takes_too_long_is_not_enforced_and_not_tried_again(hasty, monkeypatch):
    asked = []

    async def give_up(*request):
        asked.append(request)
        raise WorkLimitExceeded("too long")

    monkeypatch.setattr(hasty, "_request", give_up)
    for _ in range(3):
        assert await hasty.grammar_support("xgrammar", "regex", "a") == GrammarSupport("none", "too long")
    assert len(asked) == 1


async def test_many_callers_ask_once(workers, monkeypatch):
    asked = []
    ask = workers._request

    async def counted(*request):
        asked.append(request)
        return await ask(*request)

    monkeypatch.setattr(workers, "_request", counted)
    found = await asyncio.gather(*(workers.grammar_support("guidance", "regex", "a+") for _ in range(20)))
    assert found == [GrammarSupport("whole")] * 20
    assert len(asked) == 1


async def test_many_callers_share_two_processes_and_get_their_own_answers(workers):
    async def ask(n: int) -> bool:
        return (await workers.match("regex", f"a{{{n}}}", "a" * 10)).status == "valid"

    assert await asyncio.gather(*map(ask, range(20))) == [n == 10 for n in range(20)]
    assert len(benches()) == 2


async def test_one_caller_needs_one_process(workers):
    assert benches() == []
    for _ in range(3):
        await workers.match("regex", "a", "a")
    assert len(benches()) == 1


async def test_a_process_that_was_killed_is_replaced(workers):
    await workers.match("regex", "a", "a")
    os.kill(benches()[0], signal.SIGKILL)
    assert await workers.match("regex", "a", "a") == Match("valid")


async def test_a_process_killed_twice_in_the_middle_is_given_up():
    workers = GrammarWorkers(limit_s=30)
    hanging = asyncio.create_task(workers.match("grammar", ENDLESS, "a" * 2_000))
    for _ in range(2):
        os.kill(await is_busy(), signal.SIGKILL)
    with pytest.raises(WorkLimitExceeded):
        await hanging
    await workers.close()


async def test_a_caller_that_leaves_ends_its_process_and_confuses_no_other():
    workers = GrammarWorkers(limit_s=30, processes=1)
    leaving = asyncio.create_task(workers.match("grammar", ENDLESS, "a" * 2_000))
    busy = await is_busy()
    waiting = asyncio.create_task(workers.match("regex", "a", "a"))
    leaving.cancel()
    assert await waiting == Match("valid")
    assert busy not in benches()
    await workers.close()


async def test_one_of_many_callers_may_leave(workers):
    first, second = (asyncio.create_task(workers.grammar_support("guidance", "regex", "a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).enforcement == "whole"


async def test_closed_it_leaves_no_process_and_nobody_waiting():
    workers = GrammarWorkers(limit_s=30, processes=1)
    hanging = asyncio.create_task(workers.match("grammar", ENDLESS, "a" * 2_000))
    waiting = asyncio.create_task(workers.grammar_support("guidance", "regex", "a"))
    await is_busy()
    await workers.close()
    assert benches() == []
    with pytest.raises(WorkLimitExceeded):
        await hanging
    assert (await waiting).enforcement == "none"


async def test_a_process_gets_none_of_the_gateways_secrets(workers, monkeypatch):
    monkeypatch.setenv("SMALLFIRST_API_KEYS", "secret")
    await workers.match("regex", "a", "a")
    assert b"secret" not in environment(benches()[0])


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
