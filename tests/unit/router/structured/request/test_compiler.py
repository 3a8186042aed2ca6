"""A call -> its constraint: read, compiled, and kept for the same bytes."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import BadRequest
from router.structured.request.compiler import CACHE_BYTES, MAX_FIELD_BYTES, MAX_TOOLS_CHARS, ConstraintCompiler
from router.structured.request.schema import MAX_SCHEMA_CHARS, schema_fault
from router.structured.request.schema_weight import MAX_LIGHT_CHARS, is_light
from router.structured.workers.grammar_workers import GrammarWorkers, WorkLimitExceeded
from tests.support.fakes import call

SCHEMA = {"type": "object", "required": ["a"]}
HEAVY = SCHEMA | {"description": "x" * MAX_LIGHT_CHARS}


class FakeGrammarWorkers:
    """Grammar workers without processes. They report the given fault for every grammar."""

    def __init__(self, fault=None) -> None:
        self.asked: list[tuple[str, str]] = []
        self._fault = fault

    async def grammar_fault(self, kind, source):
        self.asked.append((kind, source))
        await asyncio.sleep(0)
        if isinstance(self._fault, Exception):
            raise self._fault
        return self._fault

    async def schema_fault(self, text):
        self.asked.append(("schema", text))
        await asyncio.sleep(0)
        return schema_fault(text)


def json_schema(schema) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def tool(name, **function):
    return {"type": "function", "function": {"name": name, **function}}


async def plan(workers=None, **body):
    return await ConstraintCompiler(workers or FakeGrammarWorkers()).compile(call(**body))


async def refused(param, workers=None, **body) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        await plan(workers, **body)
    assert (caught.value.status, caught.value.param) == (400, param)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"response_format": None, "tools": None},
        {"response_format": {"type": "text"}},
        {"tools": [tool("f")], "tool_choice": "none"},
        {"endpoint": "completions", "prompt": "x", "tools": 3, "tool_choice": "required"},
    ],
)
async def test_free_text_has_no_constraint(body):
    assert await plan(**body) is None


async def test_a_schema_becomes_a_formatat():
    wanted = (await plan(response_format=json_schema(SCHEMA))).output_format
    assert (wanted.kind, wanted.param) == ("json_schema", "response_format.json_schema.schema")
    assert wanted.schema.value == SCHEMA
    assert wanted.schema.validator.is_valid({"a": 1})


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
async def test_both_endpoints_have_forms(endpoint):
    constraint = await plan(endpoint=endpoint, prompt="x", structured_outputs={"choice": ["a", "b"]})
    assert (constraint.output_format.choices, constraint.calls) == (("a", "b"), None)


async def test_a_heavy_schema_is_compiled_elsewhere():
    workers = FakeGrammarWorkers()
    schema = (await plan(workers, guided_json=HEAVY)).output_format.schema
    assert (schema.validator, workers.asked) == (None, [("schema", schema.text)])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": json_schema({"type": "no"})}, "response_format.json_schema.schema"),
        ({"structured_outputs": {"json": {"type": "no"}}}, "structured_outputs.json"),
        ({"guided_json": '{"type": "no"}'}, "guided_json"),
        ({"guided_json": False}, "guided_json"),
        ({"guided_json": HEAVY | {"type": "no"}}, "guided_json"),
    ],
)
async def test_a_wrong_schema_is_named_as_the_client_wrote_it(body, param):
    error = await refused(param, **body)
    assert error.message.startswith(f"Invalid schema for '{param}': ")


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"guided_regex": "a"}, ("regex", "a")),
        ({"structured_outputs": {"grammar": "root ::= x"}}, ("grammar", "root ::= x")),
        (
            {
                "response_format": {
                    "type": "structural_tag",
                    "structures": [{"begin": "<", "end": ">"}],
                    "triggers": ["<"],
                }
            },
            ("structural_tag", '{"structures":[{"begin":"<","schema":{},"end":">"}],"triggers":["<"]}'),
        ),
    ],
)
async def test_what_a_grammar_library_reads_is_compiled_there(body, asked):
    workers = FakeGrammarWorkers()
    wanted = (await plan(workers, **body)).output_format
    assert workers.asked == [asked] == [(wanted.kind, wanted.source)]


@pytest.mark.parametrize(
    ("fault", "message"), [("no rule x", "no rule x"), ("x" * 9999, "xxx"), (WorkLimitExceeded(), "too complex")]
)
async def test_a_grammar_that_is_none_is_refused(fault, message):
    error = await refused("guided_grammar", FakeGrammarWorkers(fault), guided_grammar="root ::= x")
    assert message in error.message
    assert len(error.message) < 400


async def test_choices_and_objects_need_no_library():
    workers = FakeGrammarWorkers("never asked")
    assert (await plan(workers, guided_choice=["a"])).output_format.choices == ("a",)
    assert (await plan(workers, response_format={"type": "json_object"})).output_format.kind == "json_object"
    assert workers.asked == []


async def test_calls_have_compiled_parameters():
    calls = (await plan(tools=[tool("f", parameters=SCHEMA, strict=True), tool("g")], tool_choice="auto")).calls
    assert list(calls.tools) == ["f", "g"]
    assert (calls.required, calls.single, calls.legacy) == (False, False, False)
    assert calls.tools["f"].strict
    assert calls.tools["f"].parameters.validator.is_valid({"a": 1})
    assert calls.tools["g"].parameters is None


async def test_only_what_may_be_called_is_compiled():
    tools = [tool("f", parameters=SCHEMA), tool("g", parameters={"type": "no"})]
    calls = (await plan(tools=tools, tool_choice=tool("f"))).calls
    assert (list(calls.tools), calls.required) == (["f"], True)


async def test_a_form_and_tools_both_hold():
    constraint = await plan(tools=[tool("f")], guided_choice=["a"])
    assert (constraint.output_format.kind, list(constraint.calls.tools), constraint.kind) == ("choice", ["f"], "choice")


@pytest.mark.parametrize("choice", ["required", tool("f")])
async def test_where_a_call_must_come_the_form_does_not_apply(choice):
    constraint = await plan(tools=[tool("f")], guided_json={"type": "no"}, tool_choice=choice)
    assert (constraint.output_format, constraint.kind) == (None, "tools")


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize("unusable", [{"type": "no"}, HEAVY | {"type": "no"}, {"$ref": "https://example.com/a"}])
async def test_a_tool_that_cannot_be_checked_does_not_stop_the_others(unusable, choice):
    tools = [tool("f", parameters=SCHEMA), tool("g", parameters=unusable), tool("h")]
    constraint = await plan(tools=tools, tool_choice=choice)
    assert [one.is_checked for one in constraint.calls.tools.values()] == [True, False, True]
    assert constraint.calls.tools["f"].parameters.value == SCHEMA
    assert (constraint.adapted, constraint.replaced) == (("tools.1=unchecked",), {})


async def test_a_function_that_cannot_be_checked():
    constraint = await plan(functions=[{"name": "f", "parameters": {"type": "no"}}], function_call={"name": "f"})
    assert constraint.adapted == ("functions.0=unchecked",)


async def test_the_tools_after_a_limit_are_not_checked():
    schema = {"description": "x" * (MAX_SCHEMA_CHARS - 100)}
    count = MAX_TOOLS_CHARS // MAX_SCHEMA_CHARS + 2
    constraint = await plan(tools=[tool(f"f{i}", parameters=schema) for i in range(count)])
    assert constraint.adapted == (f"tools.{count - 1}=unchecked",)


async def test_schemas_of_another_dialect_are_forwarded_as_they_are_read():
    nullable, meant = {"type": "string", "nullable": True}, {"type": ["string", "null"]}
    tools = [tool("f", parameters=SCHEMA), tool("g", parameters={"properties": {"a": nullable}}, description="d")]
    constraint = await plan(tools=tools, response_format=json_schema(nullable))
    assert constraint.adapted == ("response_format=rewritten", "tools.1=rewritten")
    assert constraint.replaced == {
        "tools": [tools[0], tool("g", parameters={"properties": {"a": meant}}, description="d")]
    }
    assert (constraint.output_format.schema.value, constraint.output_format.is_openai) == (meant, False)
    legacy = await plan(functions=[{"name": "g", "parameters": nullable}])
    assert legacy.replaced == {"functions": [{"name": "g", "parameters": meant}]}


async def test_formats_are_described_in_what_is_forwarded():
    due = {"type": "string", "format": "date-time"}
    constraint = await plan(response_format=json_schema({"properties": {"due": due}}))
    assert constraint.adapted == ("response_format=described",)
    assert "offset" in constraint.output_format.schema.value["properties"]["due"]["description"]


async def test_tools_and_functions_that_may_not_be_called_ask_for_nothing():
    fields = {"tools": [tool("f")], "functions": [{"name": "f"}]}
    assert await plan(**fields, tool_choice="none", function_call="none") is None
    await refused("functions", **fields)


async def test_a_field_has_a_limit_white_space_and_all():
    assert "bytes" in (await refused("guided_json", guided_json=" " * MAX_FIELD_BYTES + "{}")).message


# --- what is kept


async def test_the_same_bytes_are_planned_once():
    compiler = ConstraintCompiler(FakeGrammarWorkers())
    one = await compiler.compile(call(response_format=json_schema(SCHEMA), tools=[tool("f")], temperature=1))
    assert await compiler.compile(call(response_format=json_schema(SCHEMA), tools=[tool("f")], temperature=0)) is one
    for other in ({"tools": [tool("g")]}, {"tool_choice": "auto"}, {"parallel_tool_calls": False}):
        fields = {"response_format": json_schema(SCHEMA), "tools": [tool("f")], **other}
        assert await compiler.compile(call(**fields)) is not one


async def test_the_same_text_in_another_field_is_another_constraint():
    compiler = ConstraintCompiler(FakeGrammarWorkers())
    one, other = [await compiler.compile(call(**{name: "a"})) for name in ("guided_regex", "guided_grammar")]
    assert (one.kind, other.kind) == ("regex", "grammar")


async def test_many_at_once_are_planned_once():
    workers = FakeGrammarWorkers()
    compiler = ConstraintCompiler(workers)
    constraints = await asyncio.gather(*(compiler.compile(call(guided_json=HEAVY)) for _ in range(20)))
    assert len(workers.asked) == 1
    assert set(constraints) == {constraints[0]}


async def test_a_client_that_leaves_does_not_take_the_plan_with_it():
    compiler = ConstraintCompiler(FakeGrammarWorkers())
    first = asyncio.create_task(compiler.compile(call(guided_json=HEAVY)))
    second = asyncio.create_task(compiler.compile(call(guided_json=HEAVY)))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).kind == "json_schema"


async def test_what_is_wrong_is_said_each_time():
    compiler = ConstraintCompiler(FakeGrammarWorkers("no"))
    for _ in range(2):
        with pytest.raises(BadRequest):
            await compiler.compile(call(guided_regex="a"))


async def test_what_was_of_use_last_is_kept():
    compiler = ConstraintCompiler(FakeGrammarWorkers())
    size = CACHE_BYTES // 5
    calls = [call(guided_json={"description": f"{i}" * 10, "x": "y" * (size // 2)}) for i in range(8)]
    first = await compiler.compile(calls[0])
    for one in calls[1:]:
        await compiler.compile(one)
        assert await compiler.compile(calls[0]) is first
    kept = await compiler.compile(calls[-1])
    assert await compiler.compile(calls[-1]) is kept
    again = [await compiler.compile(one) for one in calls]
    assert len(set(again)) == 8


async def test_what_is_larger_than_all_that_may_be_kept_is_served_and_not_kept():
    compiler = ConstraintCompiler(FakeGrammarWorkers())
    huge = call(tools=[tool("f", description="x" * (CACHE_BYTES - 1000))])
    assert await compiler.compile(huge) is not await compiler.compile(huge)
    assert (await compiler.compile(huge)).kind == "tools"


@pytest.mark.parametrize("requests", [1, 10])
async def test_others_run_between_two_schemas(requests, monkeypatch):
    compiled = 0
    most = 0

    def light(text, schema):
        nonlocal compiled
        compiled += 1
        return is_light(text, schema)

    async def other():
        nonlocal compiled, most
        while True:
            most, compiled = max(most, compiled), 0
            await asyncio.sleep(0)

    monkeypatch.setattr("router.structured.request.schema.is_light", light)
    compiler, task = ConstraintCompiler(FakeGrammarWorkers()), asyncio.create_task(other())
    tools = [[tool(f"f{i}{k}", parameters=SCHEMA) for i in range(10 // requests)] for k in range(requests)]
    await asyncio.gather(*(compiler.compile(call(tools=some)) for some in tools))
    task.cancel()
    assert most == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "f", "json_schema", "(", "{}", "true"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "json_schema", "schema", "json", "function", "name", "parameters", "properties"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
FIELDS = ["response_format", "structured_outputs", "guided_json", "tools", "functions", "tool_choice"]


async def outcome(planning):
    try:
        return await planning
    except BadRequest as error:
        return error


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3))
async def test_any_fields_are_a_constraint_or_a_bad_request_that_names_one(body):
    result = await outcome(plan(**body))
    if isinstance(result, BadRequest):
        assert any(result.param.startswith(name) for name in body)
    else:
        assert result is None or result.output_format or result.calls


@pytest.fixture
async def workers():
    real = GrammarWorkers()
    yield real
    await real.close()


async def test_the_real_workshop_says_what_is_wrong_with_a_grammar(workers):
    compiler = ConstraintCompiler(workers)
    assert (await compiler.compile(call(guided_regex="[a-z]+"))).output_format.source == "[a-z]+"
    assert (await compiler.compile(call(guided_json=HEAVY))).output_format.schema.validator is None
    for body in ({"guided_regex": "("}, {"guided_grammar": "root ::= ("}, {"guided_json": HEAVY | {"type": 3}}):
        with pytest.raises(BadRequest, match=next(iter(body))):
            await compiler.compile(call(**body))


async def test_a_key_is_what_the_client_wrote():
    compiler = ConstraintCompiler(FakeGrammarWorkers())
    spaced = call(guided_json=SCHEMA)
    written = msgspec.Raw(bytes(spaced.fields["guided_json"]).replace(b" ", b""))
    packed = msgspec.structs.replace(spaced, fields={**spaced.fields, "guided_json": written})
    one, other = await compiler.compile(spaced), await compiler.compile(packed)
    assert one is not other
    assert one.output_format.schema.text == other.output_format.schema.text
