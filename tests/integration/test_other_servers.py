"""llama.cpp, llama-cpp-python, Ollama and SGLang behind the gateway, over sockets; each answers as it does.

What each is sent, and what its answers and errors mean, is in tests/unit/router/upstream/dialects.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.behaviours import Behaviour, respond, stream
from tests.support.lanes import Lane, Plan
from tests.support.servers import TOOLS, LlamaCppPython, LlamaServer, Ollama, SGLang

ENGINES = ("llamacpp", "llama-cpp-python", "ollama", "sglang")
SERVERS: dict[str, Any] = {
    "llamacpp": LlamaServer,
    "llama-cpp-python": LlamaCppPython,
    "ollama": Ollama,
    "sglang": SGLang,
}
CALL = '{"name": "get_weather", "arguments": {"city": "Paris"}}'


def describe(plan: Plan) -> None:
    plan.llm()
    for engine in ENGINES:
        plan.slm(engine, engine=engine)
        plan.route(f"over-{engine}", engine, "llm")


def streams(events: list[bytes], *, ping: bytes = b"") -> Behaviour:
    return stream(*(ping + b"data: " + event + b"\n\n" for event in events))


def events_of(engine: str, *pieces: str) -> list[bytes]:
    server = SERVERS[engine]
    return server.stream(*({"content": one} for one in pieces)) if engine == "ollama" else server.stream(*pieces)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stream_with_pings_between_its_events(lane: Lane, engine: str) -> None:
    lane.site(engine).always(streams(events_of(engine, "Pa", "ris."), ping=b": ping - 2026-11-28\r\n\r\n"))
    transcript = lane.stream(f"over-{engine}").transcript
    assert (transcript.text, transcript.finish_reasons, transcript.done) == ("Paris.", ["stop"], True)
    assert (lane.site(engine).last.header("x-request-id") is None) == (engine == "llama-cpp-python")


@pytest.mark.parametrize("engine", ENGINES)
def test_an_answer_says_what_was_left_out(lane: Lane, engine: str) -> None:
    lane.site(engine).always(respond(200, SERVERS[engine].whole("Paris.")))
    reply = lane.chat(f"over-{engine}", truncate_prompt_tokens=5)
    assert (reply.text, reply.said("adapted")) == ("Paris.", "truncate_prompt_tokens=dropped")
    assert "truncate_prompt_tokens" not in lane.site(engine).last.json


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_required_call_that_is_written_as_text(lane: Lane, engine: str, streamed: bool) -> None:
    asked: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required"}
    if streamed:
        lane.site(engine).always(streams(events_of(engine, CALL[:9], CALL[9:])))
        deltas = [event["choices"][0]["delta"] for event in lane.stream(f"over-{engine}", **asked).transcript.events]
        calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    else:
        lane.site(engine).always(respond(200, SERVERS[engine].whole(CALL)))
        calls = lane.chat(f"over-{engine}", **asked).json["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["get_weather"]


@pytest.mark.parametrize(
    ("engine", "refusal", "reason"),
    [
        ("llamacpp", respond(400, LlamaServer.error(LlamaServer.TOO_LONG)), "context"),
        ("llamacpp", respond(500, LlamaServer.error("image input is not supported", 500)), "ability"),
        ("llamacpp", respond(503, LlamaServer.error("Loading model", 503, "unavailable_error")), "overloaded"),
        ("llama-cpp-python", respond(500, LlamaCppPython.error(LlamaCppPython.VALIDATION)), "ability"),
        ("ollama", respond(400, Ollama.error("registry.ollama.ai/library/x does not support tools")), "ability"),
        ("ollama", respond(503, Ollama.error("server busy, please try again.")), "overloaded"),
        ("sglang", respond(400, SGLang.error("Input length (9) exceeds the maximum allowed length (8)")), "context"),
        ("sglang", respond(503, SGLang.error("The request queue is full.", "503", 503)), "overloaded"),
        ("sglang", respond(200, SGLang.whole("Par", "abort")), "upstream_error"),
    ],
)
def test_what_it_cannot_do_goes_to_the_next_rung(lane: Lane, engine: str, refusal: Behaviour, reason: str) -> None:
    lane.site(engine).always(refusal)
    reply = lane.chat(f"over-{engine}")
    assert (reply.status, reply.said("model"), reply.said("reason")) == (200, lane.name("llm"), reason)


@pytest.mark.parametrize("engine", ["ollama", "llama-cpp-python"])
@pytest.mark.parametrize("fields", [{"n": 2}, {"messages": [{"role": "user", "content": "word " * 1300}]}])
def test_what_it_would_do_wrong_it_is_not_asked(lane: Lane, engine: str, fields: dict[str, Any]) -> None:
    reply = lane.chat(engine, **fields)
    assert reply.error["code"] in ("unsupported_by_model", "context_length_exceeded")
    assert lane.site(engine).calls == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stream_that_ends_before_its_answer_ends_with_an_error(lane: Lane, engine: str) -> None:
    """As llama-cpp-python's do when another request comes, unless it is told otherwise."""
    begun = [event for event in events_of(engine, "Pa") if b'"finish_reason": null' in event]
    lane.site(engine).always(streams([*begun, b"[DONE]"]))
    transcript = lane.stream(engine).transcript
    assert transcript.error
    assert (transcript.done, transcript.error["code"]) == (False, "upstream_error")


def test_a_llama_server_that_loads_its_model_is_down(lane: Lane) -> None:
    lane.site("llamacpp").health = respond(503, LlamaServer.error("Loading model", 503, "unavailable_error"))
    lane.gateway.wait_for_ready(status="degraded")
    reply = lane.chat("over-llamacpp")
    assert (reply.said("model"), reply.said("reason")) == (lane.name("llm"), "unavailable")
    lane.site("llamacpp").health = respond(200, {"status": "ok"})
    lane.gateway.wait_for_ready()
