"""The scripted upstream answers as vLLM does, and what is asked of it is what the scenarios say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import jsonschema_rs
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from benchmarks.common.machine import ROOT
from benchmarks.overhead.answers import PERSON_SCHEMA, SCRIPTS
from benchmarks.overhead.processes import MeasuredProcesses
from benchmarks.overhead.scenarios import HEADLINE, LATENCY, SCENARIOS, WORKERS
from tests.support import events


@pytest.fixture(scope="module")
def upstream(tmp_path_factory) -> Iterator[httpx.Client]:
    with (
        MeasuredProcesses(tmp_path_factory.mktemp("upstream")) as started,
        httpx.Client(base_url=started.upstream(0, pause_ms=2).base_url, trust_env=False) as client,
    ):
        yield client


def ask(upstream: httpx.Client, model: str, **fields: object) -> httpx.Response:
    content = json.dumps({"model": model, "messages": [{"role": "user", "content": '"model": "x"'}]} | fields)
    return upstream.post("/chat/completions", content=content)


@pytest.mark.parametrize("name", [name for name, script in SCRIPTS.items() if not script.stream])
def test_whole_answers(upstream, name):
    answer = ask(upstream, f"auto-{name}")
    completion = ChatCompletion.model_validate(answer.json(), strict=True)
    assert completion.choices[0].message.content == SCRIPTS[name].text
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens == len(SCRIPTS[name].pieces)


@pytest.mark.parametrize("name", [name for name, script in SCRIPTS.items() if script.stream])
def test_streams(upstream, name):
    answer = ask(upstream, name, stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    transcript = events.parse(answer.content)
    chunks = [ChatCompletionChunk.model_validate(chunk, strict=True) for chunk in transcript.events]
    words = [chunk.choices[0].delta.content for chunk in chunks[1:-1]]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert tuple(words) == SCRIPTS[name].pieces
    assert all(words)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == len(words)
    assert transcript.done


def test_usage_only_when_asked_for(upstream):
    transcript = events.parse(ask(upstream, "stream1", stream=True).content)
    assert transcript.done
    assert not any(chunk.get("usage") for chunk in transcript.events)


@pytest.mark.parametrize("name", ["json", "json64"])
def test_schema_answers_satisfy_the_schema(name):
    jsonschema_rs.validate(PERSON_SCHEMA, json.loads(SCRIPTS[name].text), validate_formats=True)


def test_a_request_for_the_wrong_kind_of_answer_is_refused(upstream):
    assert ask(upstream, "stream64").status_code == 400
    assert ask(upstream, "whole", stream=True).status_code == 400
    assert ask(upstream, "gpt-5").status_code == 404


def test_what_other_gateways_ask_a_worker(upstream):
    assert upstream.get(str(upstream.base_url).replace("/v1/", "/health")).status_code == 200
    assert {model["id"] for model in upstream.get("/models").json()["data"]} == set(SCRIPTS)


@pytest.mark.parametrize("scenario", (SCENARIOS | WORKERS).values(), ids=lambda scenario: scenario.name)
def test_bodies_are_what_the_scenario_says(scenario):
    bodies = [json.loads(body) for body in scenario.bodies()]
    assert len({body["messages"][1]["content"] for body in bodies}) == len(bodies)
    for body in bodies:
        assert body["model"].removeprefix("auto-") in SCRIPTS
        assert len(body["messages"][1]["content"]) == scenario.prompt_bytes
        assert body.get("stream", False) == scenario.script.stream
        assert ("response_format" in body) == scenario.schema
    assert scenario.requests >= scenario.connections


def test_headlines_are_scenarios():
    assert {*HEADLINE, *LATENCY} <= SCENARIOS.keys()


def test_the_reference_imports_nothing_of_the_project():
    program = "import sys, benchmarks.overhead.passthrough as _; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {name for name in answer.stdout.split() if name.partition(".")[0] in ("router", "server", "benchmarks")}
    assert ours == {"benchmarks", "benchmarks.overhead", "benchmarks.overhead.passthrough"}
