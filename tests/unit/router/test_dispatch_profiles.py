"""What one model does not take, another does: through a whole dispatch, before an upstream with wishes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from router.errors import Misconfigured, NotEligible, UpstreamRejected
from tests.support.fakes import DONE, ROLE, FakeExchange, answers, chunk, large, model, refuses, streams, usage_chunk
from tests.support.inprocess import Dispatching

Rule = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""takes a request; returns the error with which it is refused, or None"""
QUESTION = {"role": "user", "content": "Where?"}


def wants(without: str, message: str, *, param: str | None = None, code: str | None = None) -> Rule:
    """Refuse requests with the field `without`."""
    error = {"message": message, "param": param, "code": code}
    return lambda body: error if without in body else None


class Picky(Dispatching):
    """A small model, whose upstream has `rules`, before a large one."""

    def __init__(
        self, *rules: Rule, status: int = 400, says: str = "Paris.", alone: bool = False, **entry: Any
    ) -> None:
        small = model(**({"engine": "openai"} | entry))
        super().__init__((small,) if alone else (small, large()))
        script = self.upstream.script

        def answer() -> FakeExchange:
            body = self.upstream.sent[-1].body
            for rule in rules:
                if error := rule(body):
                    return refuses(status, {"error": error})()
            events = [[ROLE], [chunk(says[:2])], [chunk(says[2:]), chunk(finish="stop")], [usage_chunk(), DONE]]
            return streams(events)() if body.get("stream") else answers(says)()

        script["slm-0"] = [answer]

    @property
    def small(self) -> list[dict[str, Any]]:
        """What the small model was sent."""
        return [sent.body for sent in self.upstream.sent if "slm" in sent.url]


REFUSALS = [
    ("temperature", "Unsupported parameter: 'temperature' is not supported with this model.", "temperature"),
    ("temperature", "`temperature` is deprecated for this model.", None),
    ("seed", "Unrecognized request argument supplied: seed", None),
    ("stop", "stop is not supported by this model", None),
    ("logit_bias", "Argument not supported on this model: logit_bias", None),
    ("presence_penalty", "property 'presence_penalty' is unsupported", None),
    ("parallel_tool_calls", "Extra inputs are not permitted", "parallel_tool_calls"),
    ("reasoning_effort", "Unrecognized request arguments supplied: reasoning_effort, verbosity", None),
]
VALUES = {"stop": ["x"], "logit_bias": {"1": 1}, "parallel_tool_calls": True, "reasoning_effort": "low"}


@pytest.mark.parametrize(("name", "message", "param"), REFUSALS)
async def test_a_field_that_is_refused_is_left_out_said_and_remembered(
    name: str, message: str, param: str | None
) -> None:
    one = Picky(wants(name, message, param=param))
    fields = {name: VALUES.get(name, 1)}
    await one.ask(**fields)
    assert one.tried == [("slm/0", "adapted"), ("slm/0", "")]
    assert one.headers["adapted"] == f"{name}=dropped"
    await one.ask(**fields)
    assert one.tried == [("slm/0", "")], "the next call pays no refused round trip"
    assert one.headers["adapted"] == f"{name}=dropped"
    await one.ask()
    assert "adapted" not in one.headers


async def test_a_stream_is_adapted_as_well() -> None:
    one = Picky(wants("temperature", "'temperature' is not supported"))
    assert len(await one.ask(stream=True, temperature=0.5)) == 4
    assert one.headers["adapted"] == "temperature=dropped"


async def test_our_own_field_that_is_refused_is_left_out_without_a_word() -> None:
    one = Picky(wants("stream_options", "Unknown field: stream_options", param="stream_options"))
    await one.ask(stream=True)
    assert "adapted" not in one.headers
    await one.ask(stream=True)
    assert one.tried == [("slm/0", "")]


async def test_several_fields_are_refused_one_after_the_other() -> None:
    rules = [wants(name, f"'{name}' is not supported", param=name) for name in ("temperature", "top_p", "seed")]
    one = Picky(*rules)
    await one.ask(temperature=0, top_p=1, seed=3)
    assert [failure for _, failure in one.tried] == ["adapted"] * 3 + [""]
    assert one.headers["adapted"] == "temperature=dropped, top_p=dropped, seed=dropped"


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "Unsupported parameter: 'max_tokens'",
    ],
)
async def test_a_field_is_sent_under_the_name_that_is_wanted(message: str) -> None:
    one = Picky(wants("max_tokens", message, param="max_tokens", code="unsupported_parameter"))
    await one.ask(max_tokens=9)
    assert one.small[-1]["max_completion_tokens"] == 9
    assert one.headers["adapted"] == "max_tokens=max_completion_tokens"
    await one.ask(max_tokens=9)
    assert one.tried == [("slm/0", "")]


async def test_a_number_that_is_too_large_is_lowered() -> None:
    def rule(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        words = "max_tokens is too large: 32000. This model supports at most 16384 completion tokens."
        return {"message": words, "param": "max_tokens"} if body.get("max_tokens", 0) > 16384 else None

    one = Picky(rule)
    await one.ask(max_tokens=32000)
    assert one.headers["adapted"] == "max_tokens=16384"
    await one.ask(max_tokens=20000)
    assert (one.tried, one.small[-1]["max_tokens"]) == ([("slm/0", "")], 16384)
    await one.ask(max_tokens=100)
    assert one.small[-1]["max_tokens"] == 100


async def test_only_the_value_that_is_refused_is_left_out() -> None:
    def rule(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        words = "Unsupported value: 'reasoning_effort' does not support 'xhigh' with this model."
        found = body.get("reasoning_effort") == "xhigh"
        return {"message": words, "param": "reasoning_effort", "code": "unsupported_value"} if found else None

    one = Picky(rule)
    await one.ask(reasoning_effort="xhigh")
    assert one.headers["adapted"] == "reasoning_effort=dropped"
    await one.ask(reasoning_effort="low")
    assert one.small[-1]["reasoning_effort"] == "low"


HISTORY = [
    QUESTION,
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Hm.",
        "tool_calls": [
            {
                "id": "call_" + "a" * 60,
                "type": "function",
                "extra_content": {"google": {}},
                "function": {"name": "f", "arguments": "{}"},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_" + "a" * 60, "content": "x"},
]


def _in_messages(key: str) -> Rule:
    def rule(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        for at, message in enumerate(body["messages"]):
            if key in message:
                return {"message": "Extra inputs are not permitted", "param": f"messages[{at}].{key}"}
            if any(key in call for call in message.get("tool_calls") or ()):
                return {"message": f"Unknown name \"{key}\" at 'messages[{at}].tool_calls[0]': Cannot find field."}
        return None

    return rule


@pytest.mark.parametrize(
    ("key", "path"),
    [("reasoning_content", "messages.*.reasoning_content"), ("extra_content", "messages.*.tool_calls.*.extra_content")],
)
async def test_a_field_of_the_history_is_left_out(key: str, path: str) -> None:
    one = Picky(_in_messages(key))
    await one.ask(messages=HISTORY)
    assert one.headers["adapted"] == f"{path}=dropped"
    await one.ask(messages=HISTORY)
    assert one.tried == [("slm/0", "")]


@pytest.mark.parametrize(
    ("message", "length"),
    [
        ("Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40", 40),
        ("Tool call id was call_aaa but must be a-z, A-Z, 0-9, with a length of 9.", 9),
    ],
)
async def test_ids_of_calls_and_of_their_results_are_mapped_alike(message: str, length: int) -> None:
    def rule(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        ids = [call["id"] for one in body["messages"] for call in one.get("tool_calls") or ()]
        return {"message": message} if any(len(one) > length for one in ids) else None

    one = Picky(rule)
    await one.ask(messages=HISTORY)
    _, call, result = one.small[-1]["messages"]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert len(result["tool_call_id"]) == length
    await one.ask(messages=HISTORY)
    assert (one.tried, one.small[-1]["messages"][2]) == ([("slm/0", "")], result)


def _alternate(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    roles = [message["role"] for message in body["messages"]]
    words = "Conversation roles must alternate user/assistant/user/assistant/..."
    return {"message": words} if any(a == b for a, b in itertools.pairwise(roles)) else None


def _no_system(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return {"message": "System role not supported"} if body["messages"][0]["role"] == "system" else None


def _text_only(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = any(not isinstance(message["content"], str) for message in body["messages"])
    return {"message": "Input should be a valid string", "param": "messages.0.content"} if found else None


@pytest.mark.parametrize(
    ("rule", "messages", "sent", "change"),
    [
        (
            _alternate,
            [QUESTION, {"role": "user", "content": "When?"}],
            [{"role": "user", "content": "Where?\n\nWhen?"}],
            "alternating_roles",
        ),
        (
            _no_system,
            [{"role": "system", "content": "Be brief."}, QUESTION],
            [{"role": "user", "content": "Be brief.\n\nWhere?"}],
            "no_system",
        ),
        (
            _text_only,
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            [{"role": "user", "content": "a\nb"}],
            "text_content",
        ),
    ],
)
async def test_messages_take_the_form_that_is_wanted(
    rule: Rule, messages: list[Any], sent: list[Any], change: str
) -> None:
    one = Picky(rule)
    await one.ask(messages=messages)
    assert one.small[-1]["messages"] == sent
    assert one.headers["adapted"] == f"messages={change}"
    await one.ask(messages=messages)
    assert one.tried == [("slm/0", "")]


async def test_the_word_json_is_added() -> None:
    def rule(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        words = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        return None if "json" in str(body["messages"]).lower() else {"message": words, "param": "messages"}

    one = Picky(rule, says="{}")
    await one.ask(response_format={"type": "json_object"})
    assert one.headers["adapted"] == "messages=json_word"
    await one.ask(response_format={"type": "json_object"})
    assert one.tried == [("slm/0", "")]


def tool(name: str, schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", **schema}, **more}}


TOOLS = [
    tool("plain", {"properties": {"a": {"type": "string"}}}),
    tool("either", {"properties": {"a": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}}, strict=True),
    tool("ahead", {"properties": {"a": {"type": "string", "pattern": "^(?=x)"}}}, strict=True),
]


def _no_one_of(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    words = "Invalid schema for function 'either': In context=('properties', 'a'), 'oneOf' is not permitted."
    return {"message": words, "param": "tools[1].function.parameters"} if "oneOf" in str(body) else None


def _no_look_ahead(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    words = "Invalid schema for function 'ahead': lookaround is not supported"
    found = [at for at, one in enumerate(body["tools"]) if "(?=" in str(one["function"]["parameters"])]
    return {"message": words, "param": f"tools[{found[0]}].function.parameters"} if found else None


async def test_one_of_becomes_any_of() -> None:
    one = Picky(_no_one_of)
    await one.ask(tools=TOOLS[:2])
    assert one.headers["adapted"] == "tools.1=any_of"
    assert "anyOf" in str(one.small[-1]["tools"])
    await one.ask(tools=TOOLS[:2])
    assert one.tried == [("slm/0", "")]


async def test_one_unusable_tool_does_not_stop_the_others() -> None:
    one = Picky(_no_look_ahead)
    await one.ask(tools=TOOLS)
    assert one.headers["adapted"] == "tools.2=unchecked"
    plain, either, ahead = one.small[-1]["tools"]
    assert (plain, either) == (TOOLS[0], TOOLS[1])
    assert ahead["function"]["parameters"] == {"type": "object", "properties": {}}
    assert "(?=x)" in ahead["function"]["description"]
    await one.ask(tools=TOOLS)
    assert one.tried == [("slm/0", "")]


FORM = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


async def test_a_format_that_is_refused_is_asked_for_in_words_and_remembered() -> None:
    rule = wants("response_format", "response_format is not supported", param="response_format")
    one = Picky(rule, says="{}")
    await one.ask(response_format=FORM)
    assert [failure for _, failure in one.tried] == ["ability", ""]
    await one.ask(response_format=FORM)
    assert one.tried == [("slm/0", "")]
    assert "response_format" not in one.small[-1]


async def test_a_schema_is_asked_for_in_words_whatever_the_words_of_its_refusal() -> None:
    ahead = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)x"}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": ahead}}
    one = Picky(
        lambda body: {"message": "lookaround is not supported"} if "response_format" in body else None,
        says='{"a": "x"}',
    )
    await one.ask(response_format=form)
    assert one.headers["adapted"] == "response_format=in_words"
    await one.ask(response_format=form)
    assert one.tried == [("slm/0", "")]
    assert one.headers["adapted"] == "response_format=in_words"


# --- the room that is left


def _context(size: int, prompt: int) -> Rule:
    def rule(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        wanted = body.get("max_tokens", 0)
        words = (
            f"'max_tokens' or 'max_completion_tokens' is too large: {wanted}. This model's maximum context length is "
            f"{size} tokens and your request has {prompt} input tokens ({wanted} > {size} - {prompt})."
        )
        return {"message": words, "type": "BadRequestError", "code": 400} if wanted + prompt > size else None

    return rule


async def test_a_limit_above_the_context_is_lowered_to_the_room_that_is_left() -> None:
    one = Picky(_context(2048, 12), engine="vllm", context=2048)
    await one.ask(max_tokens=32000)
    assert one.tried == [("slm/0", "")], "the context is known"
    sent = one.small[-1]["max_tokens"]
    assert 1900 < sent <= 2036
    assert one.headers["adapted"] == f"max_tokens={sent}"


async def test_the_context_is_learned_from_the_refusal() -> None:
    one = Picky(_context(2048, 700), engine="vllm")
    await one.ask(max_tokens=2000)
    assert one.headers["adapted"] == "max_tokens=1348"
    assert one.tried == [("slm/0", "adapted"), ("slm/0", "")]


async def test_a_client_can_have_it_refused_instead() -> None:
    one = Picky(_context(2048, 12), engine="vllm", context=2048, alone=True)
    error = await one.fails(NotEligible, max_tokens=32000, routing={"clamp_max_tokens": False})
    assert (error.code, error.param) == ("context_length_exceeded", "max_tokens")
    assert one.small == []


async def test_a_prompt_that_leaves_no_room_goes_one_rung_up() -> None:
    one = Picky(_context(2048, 2045), engine="vllm", context=2048)
    await one.ask(max_tokens=1000)
    assert one.steps == [("slm", "llm", "context")]


# --- refusals that nothing can be read from, and those that the operator must mend


async def test_a_refusal_that_cannot_be_read_goes_one_rung_up_and_teaches_nothing() -> None:
    one = Picky(lambda body: {"message": "Something about your request."})
    await one.ask(temperature=0)
    assert one.tried == [("slm/0", "rejected"), ("llm/0", "")]
    assert one.steps == [("slm", "llm", "rejected")]


async def test_what_did_not_help_is_not_remembered() -> None:
    one = Picky(lambda body: {"message": "'temperature' is not supported"})
    await one.ask(temperature=0)
    assert one.tried == [("slm/0", "adapted"), ("slm/0", "rejected"), ("llm/0", "")]
    assert one.profiles.lines("slm", 0.0) == ([], [])


async def test_a_refusal_within_a_stream_is_read_as_well_and_remembered_only_if_that_helped() -> None:
    def answer() -> FakeExchange:
        event = b'{"error": {"message": "temperature and seed are not supported", "code": 400}}'
        return FakeExchange(steps=[[event]]) if "seed" in one.upstream.sent[-1].body else streams()()

    one = Picky()
    one.upstream.script["slm-0"] = [answer]
    await one.ask(stream=True, seed=1, temperature=0)
    assert one.tried == [("slm/0", "adapted"), ("slm/0", "")]
    assert sorted(one.profiles.lines("slm", 0.0)[0]) == ["seed=dropped", "temperature=dropped"]
    one = Picky()
    one.upstream.script["slm-0"] = [streams([[b'{"error": {"message": "seed is not supported", "code": 400}}']])]
    one.upstream.script["llm-0"] = [streams()]
    await one.ask(stream=True, seed=1)
    assert one.profiles.lines("slm", 0.0)[0] == []


async def test_the_first_refusal_is_told_when_every_model_refuses() -> None:
    one = Picky(lambda body: {"message": "The first."})
    one.upstream.script["llm-0"] = [refuses(422, {"error": {"message": "The second."}})]
    error = await one.fails(UpstreamRejected)
    assert (error.status, error.message) == (400, "The first.")


async def test_what_the_operator_must_mend_is_said_to_the_operator(caplog: pytest.LogCaptureFixture) -> None:
    one = Picky(lambda body: {"message": "This model does not exist", "code": "model_not_found"}, status=404)
    for _ in range(3):
        await one.ask()
        assert one.steps == [("slm", "llm", "misconfigured")]
        assert one.record.misconfigured == [("slm", "model_name")]
    assert one.profiles.lines("slm", 0.0)[1] == ["model_name: This model does not exist"]
    assert len([line for line in caplog.records if line.levelname == "ERROR"]) == 1


async def test_a_routes_client_is_told_no_more_than_that_the_gateway_is_not_set_up() -> None:
    one = Picky(lambda body: {"message": "Account acme is empty"}, status=402, alone=True)
    error = await one.fails(Misconfigured)
    assert (error.status, error.code) == (502, "upstream_misconfigured")
    assert "acme" not in error.message


async def test_who_asks_for_one_model_is_told_its_refusal() -> None:
    one = Picky(lambda body: {"message": "No such model", "code": "model_not_found"}, status=404)
    error = await one.fails(UpstreamRejected, model="slm")
    assert (error.status, error.code, error.message) == (404, "model_not_found", "No such model")


async def test_what_is_refused_only_without_tools_is_not_dropped_beside_tools() -> None:
    words = "'parallel_tool_calls' is only allowed when 'tools' are specified."
    one = Picky(lambda body: {"message": words} if "parallel_tool_calls" in body and "tools" not in body else None)
    await one.ask(parallel_tool_calls=False)
    assert one.headers["adapted"] == "parallel_tool_calls=dropped"
    await one.ask(parallel_tool_calls=False, tools=TOOLS[:1])
    assert "parallel_tool_calls" in one.small[-1]
