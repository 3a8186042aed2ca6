"""What becomes of a small model's answer that has to be sure enough."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from router.decision import Decision
from router.errors import BadRequest, LowConfidence, StructuredOutputViolation, UpstreamFailed, UpstreamRejected
from router.learning.calibration import Calibration, Isotonic
from router.learning.evidence import ALL_TASKS, Evidence, TaskAverages
from router.policy.cascade import Cascade
from router.policy.guarantee import Guarantee
from server.observability import decision_log
from tests.support.fakes import (
    DONE,
    HANG,
    HOURS,
    TOKENS,
    FakeExchange,
    answers,
    call,
    chunk,
    large,
    model,
    refuses,
    streams,
    usage_chunk,
    usage_of,
)
from tests.support.inprocess import Dispatching

SURE, UNSURE = -0.05, -2.0
"""summed logprobs: P is .95, and .14"""
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
STOP = chunk(finish="stop")


def said(text: str, logprob: float) -> dict[str, Any]:
    return {"content": [{"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}]}


def choice(text: str, logprob: float | None, index: int = 0, **message: Any) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": text, **message},
        "logprobs": None if logprob is None else said(text, logprob),
        "finish_reason": "stop",
    }


def whole(*choices: dict[str, Any]) -> Callable[[], FakeExchange]:
    body = json.dumps({"id": "x", "choices": choices, "usage": usage_of(10, 5)}).encode()
    return lambda: FakeExchange(body=body)


def sure(text: str = "Paris.") -> Callable[[], FakeExchange]:
    return whole(choice(text, SURE))


def unsure(text: str = "Rome?") -> Callable[[], FakeExchange]:
    return whole(choice(text, UNSURE))


def piece(text: str, logprob: float) -> bytes:
    part = {"index": 0, "delta": {"content": text}, "logprobs": said(text, logprob), "finish_reason": None}
    return json.dumps({"id": "x", "choices": [part]}).encode()


def telling(*pieces: tuple[str, float], then: Sequence[Any] = ([STOP], [usage_chunk(), DONE])) -> Any:
    return streams([*([piece(*one)] for one in pieces), *then])


def gateway(*small: Any, large_says: Any = None, **settings: Any) -> Dispatching:
    script = {"slm-0": list(small), "llm-0": [large_says or answers("From the large one.")]}
    return Dispatching(script=script, settings={"policy": "cascade", **settings})


def text_of(body: bytes) -> str:
    content: str = json.loads(body)["choices"][0]["message"]["content"]
    return content


def texts(events: Sequence[bytes]) -> str:
    parts = [part["delta"].get("content") or "" for event in events for part in json.loads(event)["choices"]]
    return "".join(parts)


async def test_a_sure_answer_is_accepted_and_says_how_sure() -> None:
    one = gateway(sure())
    [body] = await one.ask()
    assert text_of(body) == "Paris."
    assert one.headers["model"] == "slm"
    assert one.headers["reason"] == "cascade"
    assert float(one.headers["confidence"]) == pytest.approx(0.951, abs=0.001)
    one.all_is_released()


async def test_an_unsure_answer_is_thrown_away_and_the_next_rung_asked() -> None:
    one = gateway(unsure())
    [body] = await one.ask()
    assert text_of(body) == "From the large one."
    assert one.steps == [("slm", "llm", "confidence")]
    assert one.tried == [("slm/0", "confidence"), ("llm/0", "")]
    assert one.headers["reason"] == "confidence"
    assert "confidence" not in one.headers, "the large model's answer is not judged"
    assert one.record.usage is one.record.attempts[1].usage
    assert one.pools["slm"].replicas[0].breaker.failures == 0, "being unsure is no fault of the replica"
    one.all_is_released()


async def test_logprobs_are_asked_for_and_taken_out_again() -> None:
    one = gateway(sure())
    [body] = await one.ask()
    assert one.upstream.sent[0].body["logprobs"] is True
    assert json.loads(body)["choices"][0]["logprobs"] is None


async def test_a_client_that_asked_for_logprobs_keeps_them() -> None:
    one = gateway(sure())
    [body] = await one.ask(logprobs=True, top_logprobs=3)
    assert one.upstream.sent[0].body["top_logprobs"] == 3
    assert json.loads(body)["choices"][0]["logprobs"] == said("Paris.", SURE)


async def test_the_large_model_is_asked_as_the_client_asked() -> None:
    one = gateway(unsure())
    await one.ask()
    assert "logprobs" not in one.upstream.sent[1].body


async def test_of_several_answers_the_least_sure_one_counts() -> None:
    one = gateway(whole(choice("a", SURE), choice("b", UNSURE, 1)))
    one.script["llm-0"] = [whole(choice("c", None), choice("d", None, 1))]
    [body] = await Dispatching(script=one.script, settings={"policy": "cascade"}).ask(n=2)
    assert text_of(body) == "c"


async def test_where_the_fallback_fails_the_unsure_answer_is_better_than_none() -> None:
    one = gateway(unsure(), large_says=refuses(500))
    [body] = await one.ask()
    assert text_of(body) == "Rome?"
    assert one.headers["model"] == "slm"
    assert one.headers["reason"] == "unsure: upstream_error"
    assert one.tried[0] == ("slm/0", "")
    assert one.record.usage == one.record.attempts[0].usage
    one.all_is_released()


async def test_where_the_fallback_refuses_the_unsure_answer_is_better_than_none() -> None:
    one = gateway(
        unsure(), large_says=refuses(400, {"error": {"message": "no such thing", "code": "odd\r\nx-evil: 1"}})
    )
    assert text_of((await one.ask())[0]) == "Rome?"
    assert one.headers["reason"] == "unsure: rejected", "what an upstream says is no header"


async def test_a_client_that_demands_a_confidence_gets_no_unsure_answer() -> None:
    one = gateway(unsure(), large_says=refuses(500))
    await one.fails(UpstreamFailed, routing={"min_confidence": 0.5})
    one = gateway(unsure())
    error = await one.fails(LowConfidence, routing={"min_confidence": 0.5, "allow_fallback": False})
    assert (error.status, error.code, error.param) == (502, "confidence_too_low", "routing.min_confidence")
    assert "0.14; at least 0.50" in error.message


async def test_a_demand_makes_a_fixed_route_look_at_the_confidence() -> None:
    one = gateway(unsure(), policy="fixed")
    assert text_of((await one.ask(routing={"min_confidence": 0.5}))[0]) == "From the large one."
    one = gateway(unsure(), policy="fixed")
    assert text_of((await one.ask(routing={"min_confidence": 0.1}))[0]) == "Rome?"


async def test_a_demand_that_the_named_policy_does_not_read_is_refused() -> None:
    error = await gateway().fails(BadRequest, routing={"policy": "heuristic", "min_confidence": 0.5})
    assert error.param == "routing.min_confidence"
    error = await gateway().fails(BadRequest, routing={"policy": "classifier"})
    assert error.param == "routing.policy"


@pytest.mark.parametrize("hold", ["none"])
async def test_a_demand_and_a_stream_that_does_not_wait_contradict_each_other(hold: str) -> None:
    error = await gateway().fails(BadRequest, stream=True, routing={"min_confidence": 0.5, "hold": hold})
    assert error.param == "routing.hold"


async def test_a_route_s_guarantee_is_not_the_client_s_to_void() -> None:
    one = gateway(guarantee=Guarantee(max_quality_loss=0.1))
    for hold in ("first", "none"):
        error = await one.fails(BadRequest, stream=True, routing={"hold": hold})
        assert error.param == "routing.hold"


async def test_no_confidence_at_all_is_accepted_where_none_is_demanded() -> None:
    one = gateway(whole(choice("Rome?", -300.0)))
    assert text_of((await one.ask(routing={"min_confidence": 0.0}))[0]) == "Rome?"


async def test_without_a_rung_above_the_answer_is_believed() -> None:
    one = gateway(unsure())
    assert text_of((await one.ask(routing={"allow_fallback": False}))[0]) == "Rome?"
    assert "logprobs" not in one.upstream.sent[0].body


async def test_a_model_that_tells_no_logprobs_is_not_believed() -> None:
    one = gateway(whole(choice("Rome?", None)))
    assert text_of((await one.ask())[0]) == "From the large one."
    assert one.record.judgements[0].score is None


async def test_a_model_declared_unable_to_tell_them_is_not_asked_for_them() -> None:
    mute = model(abilities=frozenset({"tools", "structured"}))
    one = Dispatching((mute, large()), {"slm-0": [answers("Rome?")]}, settings={"policy": "cascade"})
    assert text_of((await one.ask())[0]) == "Rome?"
    assert "logprobs" not in one.upstream.sent[0].body


@pytest.mark.parametrize("fields", [{}, {"echo": True}])
async def test_a_demand_is_not_met_by_who_cannot_tell(fields: dict[str, Any]) -> None:
    mute = model(abilities=frozenset({"tools", "structured", "completions"}))
    one = Dispatching((mute, large(abilities=mute.abilities)), {"slm-0": [answers("Rome?")]})
    one.script["llm-0"] = [answers("From the large one.")]
    one = Dispatching(one.models, one.script)
    asked = {"endpoint": "completions", "prompt": "x", "messages": None, **fields} if fields else {}
    await one.ask(routing={"min_confidence": 0.9}, **asked)
    assert one.headers["model"] == "llm"


async def test_a_prompt_that_is_echoed_says_nothing_of_the_answer() -> None:
    echoing = {"index": 0, "text": "x Paris", "finish_reason": "stop", "logprobs": {
        "tokens": ["x", " Paris"], "token_logprobs": [-0.1, -0.01], "top_logprobs": None}}  # fmt: skip
    able = frozenset({"tools", "structured", "completions", "logprobs"})
    script = {"slm-0": [whole(echoing)], "llm-0": [whole(echoing)]}
    one = Dispatching((model(), large(abilities=able)), script, settings={"policy": "cascade"})
    await one.ask(endpoint="completions", prompt="x", echo=True, logprobs=1)
    assert one.record.judgements[0].score is None


async def test_what_the_gateway_has_added_is_not_the_client_s_fault() -> None:
    refusal = refuses(400, {"error": {"message": "logprobs are not supported", "param": "logprobs"}})
    one = gateway(refusal)
    assert text_of((await one.ask())[0]) == "From the large one."
    assert one.steps == [("slm", "llm", "ability")]
    await gateway(refusal).fails(UpstreamRejected, logprobs=True)


async def test_a_form_is_checked_before_the_confidence() -> None:
    one = gateway(whole(choice("not JSON", SURE)), large_says=answers('{"a": 2}'))
    assert text_of((await one.ask(response_format=FORM))[0]) == '{"a": 2}'
    assert [reason for _, _, reason in one.steps] == ["structured"]
    assert one.record.judgements == []


async def test_of_a_formed_answer_only_its_values_count() -> None:
    tokens = [('{"a": ', UNSURE), ("1", SURE), ("}", SURE)]
    content = [{"token": text, "logprob": logprob, "bytes": None} for text, logprob in tokens]
    one = gateway(whole({**choice('{"a": 1}', None), "logprobs": {"content": content}}))
    assert text_of((await one.ask(response_format=FORM))[0]) == '{"a": 1}'
    confidence = one.record.judgements[0].confidence
    assert confidence is not None
    assert list(confidence.fields) == ["/a"]


async def test_an_unsure_answer_of_a_form_that_the_fallback_breaks_is_better_than_none() -> None:
    unsure_number = {**choice('{"a": 1}', None), "logprobs": {"content": [{"token": '{"a": 1}', "logprob": UNSURE}]}}
    one = gateway(whole(unsure_number), large_says=answers("no JSON"))
    assert text_of((await one.ask(response_format=FORM))[0]) == '{"a": 1}'
    assert one.headers["reason"] == "unsure: structured"
    assert one.headers["structured"] == "decoded"
    one = gateway(whole(unsure_number), large_says=answers("no JSON"))
    await one.fails(StructuredOutputViolation, response_format=FORM, routing={"min_confidence": 0.9})


# streams


async def test_a_stream_waits_for_its_verdict_and_leaves_without_logprobs() -> None:
    one = gateway(telling(("Pa", SURE), ("ris.", -0.01)))
    events = await one.ask(stream=True)
    assert texts(events) == "Paris."
    assert all(part.get("logprobs") is None for event in events for part in json.loads(event)["choices"])
    assert one.record.held
    assert one.headers["model"] == "slm"
    one.all_is_released()


async def test_a_stream_that_is_not_sure_enough_is_never_seen() -> None:
    one = gateway(telling(("Ro", SURE), ("me?", UNSURE)), large_says=streams())
    assert texts(await one.ask(stream=True)) == "Paris."
    assert one.tried == [("slm/0", "confidence"), ("llm/0", "")]
    one.all_is_released()


async def test_where_the_fallback_fails_the_unsure_stream_is_better_than_none() -> None:
    one = gateway(telling(("Ro", SURE), ("me?", UNSURE)), large_says=refuses(500))
    events = await one.ask(stream=True, stream_options={"include_usage": True}, usage=True)
    assert texts(events) == "Rome?"
    assert json.loads(events[-1])["usage"] == usage_of(10, 5)
    assert one.headers["reason"] == "unsure: upstream_error"
    one.all_is_released()


async def test_a_token_that_cannot_be_read_makes_the_stream_say_nothing() -> None:
    odd = json.loads(piece("ris", SURE))
    odd["choices"][0]["logprobs"]["content"][0]["logprob"] = None
    one = gateway(streams([[piece("Pa", SURE)], [json.dumps(odd).encode()], [STOP], [usage_chunk(), DONE]]))
    one.script["llm-0"] = [streams()]
    one = Dispatching(script=one.script, settings=one.settings)
    await one.ask(stream=True)
    assert one.record.judgements[0].score is None
    assert one.headers["model"] == "llm"


async def test_a_choice_of_a_stream_that_tells_nothing_is_not_passed_over() -> None:
    mute = json.dumps({"id": "x", "choices": [{"index": 1, "delta": {"content": "x"}, "finish_reason": None}]}).encode()
    one = gateway(
        streams([[piece("Pa", SURE)], [mute], [STOP, chunk(finish="stop", index=1)], [usage_chunk(), DONE]]),
        large_says=streams([[STOP, chunk(finish="stop", index=1)], [usage_chunk(), DONE]]),
    )
    await one.ask(stream=True, n=2)
    assert one.record.judgements[0].score is None


async def test_a_call_written_as_text_is_judged_as_a_call_also_in_a_stream() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    parts = [
        ("<tool_call>", SURE),
        ('{"name": "f", "arguments": {"a": ', SURE),
        ("1", UNSURE),
        ("}}</tool_call>", SURE),
    ]
    one = gateway(telling(*parts), large_says=streams(), **early(0.9))
    await one.ask(stream=True, tools=tools)
    assert [(judged.beginning, judged.accepted) for judged in one.record.judgements] == [(False, False)]
    body = "".join(text for text, _ in parts)
    tokens = [{"token": text, "logprob": logprob} for text, logprob in parts]
    alike = gateway(whole({**choice(body, None), "logprobs": {"content": tokens}}), **early(0.9))
    await alike.ask(tools=tools)
    assert alike.record.judgements[0].confidence == one.record.judgements[0].confidence


async def test_nothing_is_held_where_the_client_wants_it_so() -> None:
    one = gateway(telling(("Ro", UNSURE), ("me?", UNSURE)))
    assert texts(await one.ask(stream=True, routing={"hold": "none"})) == "Rome?"
    assert "logprobs" not in one.upstream.sent[0].body
    assert not one.record.held


def early(least: float, **settings: Any) -> dict[str, Any]:
    """Evidence by which the first two tokens tell all."""
    curve = Calibration(Isotonic((-2.0, 2.0), (0.0, 1.0)))
    evidence = Evidence(
        calibration=curve, beginnings=curve, beginning_tokens=2, tasks={ALL_TASKS: TaskAverages(0.0, [0.0])}
    )
    return {"evidence": {"slm": evidence}, "min_confidence": least, **settings}


async def test_text_whose_beginning_is_sure_goes_on_from_there() -> None:
    one = gateway(telling(("Pa", SURE), ("ris", SURE), (".", UNSURE), then=[HANG]), **early(0.9))
    got = []
    async with one.dispatch(call(stream=True)) as reply:
        assert reply.events is not None
        got = [json.loads(event) for event in await anext(aiter(reply.events))]
    assert [part["choices"][0]["delta"]["content"] for part in got] == ["Pa", "ris"]
    assert [judged.beginning for judged in one.record.judgements] == [True]


async def test_text_whose_beginning_is_not_sure_enough_waits_for_its_end() -> None:
    one = gateway(telling(("Pa", -0.1), ("ris", -0.3), (".", -0.1)), large_says=streams(), **early(0.85))
    await one.ask(stream=True)
    assert [(judged.beginning, judged.accepted) for judged in one.record.judgements] == [(True, False), (False, False)]
    assert one.headers["model"] == "llm"


@pytest.mark.parametrize("fields", [{"routing": {"hold": "whole"}}, {"response_format": FORM}])
async def test_a_form_or_the_client_s_wish_keeps_the_whole(fields: dict[str, Any]) -> None:
    one = gateway(telling(('{"a"', SURE), (": 1", SURE), ("}", SURE)), **early(0.5))
    await one.ask(stream=True, **fields)
    assert [judged.beginning for judged in one.record.judgements] == [False]


async def test_the_beginning_of_a_call_is_no_text() -> None:
    called = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    parts = [{"index": 0, "delta": {"tool_calls": [called]}, "logprobs": said('{"a": 1}', SURE), "finish_reason": None}]
    calls = json.dumps({"id": "x", "choices": parts}).encode()
    tools = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
    one = gateway(streams([[calls], [chunk(finish="tool_calls")], [usage_chunk(), DONE]]), **early(0.5))
    await one.ask(stream=True, tools=tools)
    [judged] = one.record.judgements
    assert judged.confidence is not None
    assert list(judged.confidence.fields) == ["/a"]


async def test_an_error_before_the_verdict_is_the_next_rung_s_turn() -> None:
    one = gateway(telling(("Pa", SURE), then=[UpstreamFailed("gone")]), large_says=streams())
    assert texts(await one.ask(stream=True)) == "Paris."
    assert one.steps == [("slm", "llm", "upstream_error")]


# experts side by side


def experts(*script: Any, **settings: Any) -> Dispatching:
    a, b, llm = model("a"), model("b"), large()
    return Dispatching(
        (a, b, llm), {"a-0": [script[0]], "b-0": [script[1]], "llm-0": [answers("From the large one.")]},
        settings={"policy": "cascade", "rungs": ((a, b), (llm,)), **settings},
    )  # fmt: skip


def knows(*gains: float) -> Evidence:
    return Evidence(
        calibration=Calibration(Isotonic((-2.0, 2.0), (0.0, 1.0))), tasks={ALL_TASKS: TaskAverages(0.0, gains)}
    )


async def test_the_expert_that_saves_most_is_asked() -> None:
    one = experts(sure("a"), sure("b"), evidence={"a": knows(0.0, 0.9), "b": knows(0.0, 0.0)})
    assert text_of((await one.ask())[0]) == "b"
    assert one.upstream.hosts == ["b-0"]
    assert one.steps == []


async def test_another_expert_stands_in_for_one_that_is_not_there() -> None:
    one = experts(refuses(500), sure("b"))
    assert text_of((await one.ask())[0]) == "b"
    assert (one.steps, one.record.retries) == ([], [("a", "upstream_error")])


async def test_an_unsure_expert_is_followed_by_the_rung_above() -> None:
    one = experts(unsure("a"), sure("b"))
    assert text_of((await one.ask())[0]) == "From the large one."
    assert one.steps == [("a", "llm", "confidence")]


async def test_an_expert_that_is_not_able_was_not_tried() -> None:
    a, b, llm = model("a", abilities=frozenset({"logprobs"})), model("b"), large()
    number = {**choice('{"a": 1}', None), "logprobs": {"content": [{"token": '{"a": 1}', "logprob": SURE}]}}
    one = Dispatching((a, b, llm), {"b-0": [whole(number)]},
                      settings={"policy": "cascade", "rungs": ((a, b), (llm,))})  # fmt: skip
    await one.ask(response_format=FORM)
    assert (one.headers["model"], one.headers["structured"], one.record.retries) == ("b", "decoded", [])


async def test_an_expert_of_whom_nothing_is_known_comes_after_those_who_are_known() -> None:
    one = experts(sure("a"), sure("b"), evidence={"a": knows(0.0, 0.3)})
    assert text_of((await one.ask())[0]) == "a"
    one = experts(sure("a"), sure("b"), evidence={"a": knows(0.9, 0.9)})
    assert text_of((await one.ask())[0]) == "b"


# a fallback that cannot


def skipping(**large_entry: Any) -> Dispatching:
    llm = large(**large_entry)
    settings = {"policy": "cascade", "evidence": {"slm": knows(0.9, 0.9)}}
    return Dispatching((model(), llm), {"slm-0": [answers("Rome?")], "llm-0": [refuses(500)]}, settings=settings)


@pytest.mark.parametrize(
    ("entry", "fields", "why"),
    [
        ({}, {}, "upstream_error"),
        ({"abilities": frozenset({"tools"})}, {"response_format": {"type": "json_object"}}, "ability"),
        ({}, {"routing": {"max_cost_usd": 1e-9}, "max_tokens": 10}, "cost"),
        ({"context": 5}, {"messages": [{"role": "user", "content": "word " * 500}]}, "context"),
    ],
)
async def test_who_was_skipped_answers_where_the_fallback_cannot(
    entry: dict[str, Any], fields: dict[str, Any], why: str
) -> None:
    one = skipping(**entry)
    one.script["slm-0"] = [answers("{}")]
    one = Dispatching(one.models, one.script, settings=one.settings)
    assert text_of((await one.ask(**fields))[0]) == "{}"
    assert (one.headers["model"], one.headers["reason"]) == ("slm", f"unsure: {why}")
    one.all_is_released()


async def test_the_fallback_is_asked_once_more_before_who_was_skipped() -> None:
    one = skipping()
    one.script["llm-0"] = [refuses(500), answers("From the large one.")]
    one = Dispatching(one.models, one.script, settings=one.settings)
    assert text_of((await one.ask())[0]) == "From the large one."
    assert one.upstream.hosts == ["llm-0", "llm-0"]


async def test_a_hard_call_whose_fallback_is_down_is_answered_from_below() -> None:
    one = Dispatching(script={"llm-0": [refuses(500)]}, settings={"policy": "heuristic", "threshold": 0.0})
    assert text_of((await one.ask())[0]) == "Paris."
    assert one.headers["reason"] == "unsure: upstream_error"


async def test_an_unsure_answer_goes_before_one_that_nobody_wanted() -> None:
    a, b, llm = model("a"), model("b"), large()
    script = {"a-0": [unsure("a")], "b-0": [sure("b")], "llm-0": [refuses(500)]}
    settings = {"policy": "cascade", "rungs": ((a, b), (llm,)), "evidence": {"a": knows(0.0, 0.9), "b": knows(0.9)}}
    one = Dispatching((a, b, llm), script, settings=settings)
    assert text_of((await one.ask())[0]) == "a"
    assert "b-0" not in one.upstream.hosts


async def test_of_two_unsure_answers_the_surer_one_is_given() -> None:
    a, b, llm = model("a"), model("b"), large()
    script = {"a-0": [whole(choice("a", -0.5))], "b-0": [unsure("b")], "llm-0": [refuses(500)]}
    one = Dispatching((a, b, llm), script, settings={"policy": "cascade"})
    assert text_of((await one.ask())[0]) == "a"


async def test_what_the_fallback_could_not_take_is_not_said_of_the_unsure_answer() -> None:
    one = gateway(unsure(), large_says=refuses(500))
    await one.ask(top_k=3)
    assert "dropped" not in one.headers


async def test_before_the_deadline_passes_the_unsure_answer_leaves() -> None:
    one = gateway(unsure(), large_says=HANG)
    assert text_of((await one.ask(routing={"deadline_ms": 150}))[0]) == "Rome?"
    assert one.headers["reason"] == "unsure: unavailable"
    one.all_is_released()


async def test_a_fixed_route_takes_its_experts_in_their_order() -> None:
    one = experts(refuses(500), answers("b"), policy="fixed")
    assert text_of((await one.ask())[0]) == "b"


# samples


async def test_samples_vote_and_their_share_is_the_confidence() -> None:
    votes = whole(*(choice(text, None, at) for at, text in enumerate(("Rome", "Paris", "Paris", "paris ", "Oslo"))))
    one = gateway(votes, samples=5, min_confidence=0.5)
    [body] = await one.ask(temperature=0)
    assert (one.upstream.sent[0].body["n"], one.upstream.sent[0].body["temperature"]) == (5, 0.7)
    assert [(part["index"], part["message"]["content"]) for part in json.loads(body)["choices"]] == [(0, "Paris")]
    assert one.record.judgements[0].probability == pytest.approx(4 / 7)


async def test_a_model_without_logprobs_can_vote() -> None:
    mute = model(abilities=frozenset({"tools", "structured"}))
    votes = whole(*(choice("Paris", None, at) for at in range(3)))
    one = Dispatching((mute, large()), {"slm-0": [votes]}, settings={"policy": "cascade", "samples": 3})
    await one.ask(routing={"min_confidence": 0.7})
    assert one.headers["confidence"] == "0.800"


async def test_whoever_comes_votes() -> None:
    one = gateway(whole(choice("Paris", None)), samples=5, min_confidence=0.6)
    assert text_of((await one.ask())[0]) == "Paris"
    assert one.record.judgements[0].probability == pytest.approx(2 / 3)
    assert one.pools["slm"].replicas[0].breaker.failures == 0


async def test_all_samples_count_for_the_client_s_limit() -> None:
    one = gateway(samples=32)
    asked = {"max_tokens": 10, "routing": {"max_cost_usd": 0.0003}}
    priced = model(price=TOKENS)
    one = Dispatching((priced, large(price=HOURS)), one.script, settings=one.settings)
    await one.ask(**asked)
    assert one.headers["reason"] == "cost", "32 answers of 10 tokens may cost more"


async def test_what_was_learned_of_votes_says_nothing_of_logprobs() -> None:
    one = gateway(telling(("Pa", UNSURE)), large_says=streams(), **early(0.5, samples=5))
    await one.ask(stream=True)
    assert one.record.judgements[0].gain == pytest.approx(1 - 0.135, abs=0.01), "taken at its word"


async def test_samples_that_disagree_are_not_believed() -> None:
    one = gateway(whole(*(choice(text, None, at) for at, text in enumerate("abc"))), samples=3)
    assert text_of((await one.ask())[0]) == "From the large one."
    assert one.upstream.sent[1].body.get("n") is None


async def test_a_small_model_that_answers_is_not_credited_with_its_samples() -> None:
    votes = whole(*(choice("Paris", None, at) for at in range(5)))
    one = gateway(votes, samples=5)
    await one.ask()
    assert one.record.attempts[0].samples == 5
    one_answer = gateway(sure())
    await one_answer.ask()
    spared = one.record.fallback_cost_nano_usd
    assert spared is not None
    assert one.record.usage == one_answer.record.usage
    assert spared < (one_answer.record.fallback_cost_nano_usd or 0), "the fallback would have been asked once"


# what the log tells


async def test_the_log_tells_all_that_a_decision_saw() -> None:
    one = gateway(unsure(), **early(0.9))
    await one.ask(routing={"task": "capitals"})
    told = msgspec.to_builtins(decision_log.learned_decision(one.record))
    seen = told["models"]["slm"]
    assert told["task"] == "auto/task:capitals"
    assert told["way"] == ["slm", "llm"]
    assert seen == {
        "threshold": 0.1, "accepts_all": False, "is_guaranteed": False, "price": 0.0, "value": 0.99999, "hint": 0.0,
        "expected_gain": 0.0,
    }  # fmt: skip
    [judged] = told["judged"]
    assert (judged["model"], judged["accepted"], judged["confidence"]["total"]) == ("slm", False, UNSURE)
    assert judged["gain"] == pytest.approx(0.96, abs=0.01)


async def test_the_log_tells_no_names_of_fields() -> None:
    number = {**choice('{"a": 1}', None), "logprobs": {"content": [{"token": '{"a": 1}', "logprob": UNSURE}]}}
    one = gateway(whole(number))
    await one.ask(response_format=FORM, routing={"min_confidence": 0.1})
    assert b'"/a"' not in msgspec.json.encode(decision_log.learned_decision(one.record))


async def test_of_other_policies_the_log_tells_nothing() -> None:
    one = gateway(sure(), policy="fixed")
    await one.ask()
    assert decision_log.learned_decision(one.record) is None


async def test_how_long_each_model_takes_is_told_to_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gateway(unsure(), waiting_usd_per_hour=1.0)
    await one.ask()
    seen: list[Any] = []
    monkeypatch.setattr(
        Cascade, "decide", lambda self, *arguments: seen.append(dict(arguments[0].latencies)) or Decision(1, "x")
    )
    await one.ask()
    [waits] = seen
    assert set(waits) == {"slm", "llm"}
    assert all(0 <= seconds < 10 for seconds in waits.values())
