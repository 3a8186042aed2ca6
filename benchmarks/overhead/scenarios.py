"""The scenarios: a named list, not every combination of the settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from benchmarks.overhead.answers import PERSON_SCHEMA, SCRIPTS, Script

VARIANTS = 8
"""different prompts that take turns"""
_SENTENCE = 'Clause {number}: the supplier ("we") delivers {number} units to the warehouse in Lyon by Friday.\n'


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load."""

    name: str
    answer: str
    """the name of a script in `answers.py`"""
    connections: int
    requests: int
    """in each round"""
    prompt_bytes: int = 100
    schema: bool = False
    key: bool = True
    """whether the gateway asks for a client key"""

    @property
    def script(self) -> Script:
        """Return the upstream's answer."""
        return SCRIPTS[self.answer]

    def bodies(self) -> list[bytes]:
        """Return the bodies of the requests, as a client's SDK sends them."""
        return [self._body(number) for number in range(VARIANTS)]

    def _body(self, number: int) -> bytes:
        sentences = self.prompt_bytes // len(_SENTENCE.format(number=0)) + 1
        prompt = "".join(_SENTENCE.format(number=number * 10_000 + place) for place in range(sentences))
        messages = [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": prompt[: self.prompt_bytes]},
        ]
        body: dict[str, Any] = {"model": f"auto-{self.answer}", "messages": messages, "temperature": 0}
        body["max_tokens"] = len(self.script.pieces)
        if self.script.stream:
            body["stream"] = True
        if self.schema:
            wanted = {"name": "person", "schema": PERSON_SCHEMA, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": wanted}
        return json.dumps(body, separators=(",", ":")).encode()


HEADLINE = ("whole-c8", "stream64-c8")
LATENCY = ("whole-c1", "stream64-c1")
WORKERS = {
    scenario.name: scenario
    for scenario in (
        Scenario("whole-c64-workers", "whole", 64, 4000),
        Scenario("stream64-c64-workers", "stream64", 64, 1024),
    )
}
"""for the throughput of several worker processes"""

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("whole-c1", "whole", 1, 1000),
        Scenario("whole-c8", "whole", 8, 2000),
        Scenario("whole-c64", "whole", 64, 2000),
        Scenario("whole-c8-8k", "whole", 8, 1500, prompt_bytes=8_000),
        Scenario("whole-c8-100k", "whole", 8, 500, prompt_bytes=100_000),
        Scenario("whole-c8-nokey", "whole", 8, 2000, key=False),
        Scenario("json-c1", "json", 1, 1000, schema=True),
        Scenario("json-c8", "json", 8, 1500, schema=True),
        Scenario("stream1-c8", "stream1", 8, 1500),
        Scenario("stream64-c1", "stream64", 1, 300),
        Scenario("stream64-c8", "stream64", 8, 400),
        Scenario("stream64-c64", "stream64", 64, 512),
        Scenario("stream64-c8-8k", "stream64", 8, 400, prompt_bytes=8_000),
        Scenario("stream64-c8-100k", "stream64", 8, 300, prompt_bytes=100_000),
        Scenario("stream64-c8-nokey", "stream64", 8, 400, key=False),
        Scenario("stream2000-c1", "stream2000", 1, 10),
        Scenario("stream2000-c8", "stream2000", 8, 24),
        Scenario("paced64-c1", "paced64", 1, 6),
        Scenario("paced64-c8", "paced64", 8, 48),
        Scenario("paced64-c64", "paced64", 64, 256),
        Scenario("json64-c1", "json64", 1, 200, schema=True),
        Scenario("json64-c8", "json64", 8, 400, schema=True),
    )
}
