"""The calls for measuring a decision: an agent's calls, and a small model's answers in vLLM's form.

All are generated from seeds. The measured cost depends on their length and form, not on their quality.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from router.config.models import Model
from router.judge.features import features
from router.judge.logprobs import tokens_of
from router.learning.evidence import Evidence, Example
from router.learning.fingerprint import fingerprint
from router.messages.prompt import texts
from router.policy.cascade import Cascade
from router.types import ChatCall
from server.endpoints.chat import CHAT_ENDPOINT
from server.endpoints.decode import decode

SYSTEM_CHARACTERS, USER_CHARACTERS = 2_000, 500
TEXT_TOKENS = 100
EXAMPLES = 200
"""labelled calls that the evidence is fitted on"""
SMALL = Model.model_validate(
    {
        "name": "small",
        "tier": "slm",
        "engine": "vllm",
        "base_url": "http://small/v1",
        "price": {"replica_hour_usd": 0.05},
        "abilities": ["logprobs"],
    }
)
LARGE = Model.model_validate(
    {
        "name": "large",
        "tier": "llm",
        "engine": "openai",
        "base_url": "http://large/v1",
        "price": {"input_usd_per_mtok": 0.4, "cached_input_usd_per_mtok": 0.1, "output_usd_per_mtok": 1.6},
    }
)
RUNGS = ((SMALL,), (LARGE,))
WORDS = (
    *("order", "customer", "street", "parcel", "invoice", "total", "please", "check", "before", "answer", "never"),
    *("when", "every", "field", "given", "date", "amount", "name", "city", "note", "paid", "refund", "return", "blue"),
    *("small", "large", "door", "table", "lamp", "chair", "with", "from", "into", "over", "under", "about", "near"),
)
_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "customer": {"type": "string"},
    "street": {"type": "string"},
    "city": {"type": "string"},
    "sku": {"type": "string"},
    "count": {"type": "integer"},
    "price": {"type": "number"},
    "currency": {"type": "string"},
    "paid": {"type": "boolean"},
    "note": {"type": ["string", "null"]},
}
_FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "order",
        "schema": {"type": "object", "properties": _FIELDS, "required": [*_FIELDS], "additionalProperties": False},
    },
}
_TOKEN = re.compile(r" ?\w+|[^\w\s]+ ?")


_HEAD = {"id": f"chatcmpl-{'8f3b5a7c' * 4}", "created": 1_763_900_000, "model": "small"}


class SampleCall(NamedTuple):
    """A call and its answer."""

    call: ChatCall
    choices: Sequence[Mapping[str, Any]]
    answer: bytes
    """the response with these choices and their logprobs"""
    event: bytes
    """an event of the same answer as a stream"""


def calls(count: int, seed: int, *, structured: bool) -> list[SampleCall]:
    """Return calls of one template with different questions, and an answer to each."""
    of_template, rng = random.Random(structured), random.Random(seed)
    system = _prose(of_template, SYSTEM_CHARACTERS)
    found = []
    for _ in range(count):
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": _prose(rng, USER_CHARACTERS)},
        ]
        body = {"model": "auto", "messages": messages} | ({"response_format": _FORM} if structured else {})
        text = _order(rng) if structured else "".join(f" {rng.choice(WORDS)}" for _ in range(TEXT_TOKENS))
        tokens = [_token(piece, -(rng.random() ** 6)) for piece in _TOKEN.findall(text)]
        found.append(_answered(decode(CHAT_ENDPOINT, _bytes(body)), text, tokens))
    return found


def _answered(call: ChatCall, text: str, tokens: Sequence[Mapping[str, Any]]) -> SampleCall:
    """Return a call with vLLM's answer."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text,
        "refusal": None,
        "tool_calls": [],
        "reasoning": None,
    }
    choice = {"index": 0, "message": message, "logprobs": {"content": tokens}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 600, "completion_tokens": len(tokens), "total_tokens": 600 + len(tokens)}
    part = {"index": 0, "delta": {"content": tokens[0]["token"]}, "logprobs": {"content": tokens[:1]}}
    return SampleCall(
        call,
        [{**choice, "logprobs": None}],
        _bytes(_HEAD | {"object": "chat.completion", "choices": [choice], "usage": usage}),
        _bytes(_HEAD | {"object": "chat.completion.chunk", "choices": [part | {"finish_reason": None}]}),
    )


def prompts(count: int, characters: int, seed: int) -> list[str]:
    """Return texts of about this length."""
    rng = random.Random(seed)
    return [_prose(rng, characters) for _ in range(count)]


def evidence() -> Evidence:
    """Return the evidence fitted on labelled calls of both templates."""
    rng, examples = random.Random(0), []
    for structured in (True, False):
        for asked in calls(EXAMPLES // 2, seed=1, structured=structured):
            tokens = tokens_of(asked.answer)[0]
            confidence = features(tokens, structured=structured)
            examples.append(
                Example(
                    task=fingerprint(asked.call),
                    text="\n\n".join(texts(asked.call)),
                    weak=float(rng.random() < 0.6),
                    strong=1.0,
                    has_confidence=True,
                    score=None if confidence is None else confidence.score,
                    completion_tokens=len(tokens),
                )
            )
    return Evidence.fit(examples)


def cascade(known: Evidence) -> Cascade:
    """Return the policy of a route with two rungs."""
    return Cascade(LARGE, {SMALL.name: known})


def _prose(rng: random.Random, characters: int) -> str:
    text = ""
    while len(text) < characters:
        text += f"{rng.choice(WORDS)}{rng.choice(['', '', '', ',', '.'])} "
    return text


def _order(rng: random.Random) -> str:
    values = [
        f"{rng.choice(WORDS)} {rng.choice(WORDS)}".title(),
        f"{rng.randrange(200)} {rng.choice(WORDS)} street".title(),
        rng.choice(WORDS).title(),
        f"{rng.choice('ABC')}-{rng.randrange(100)}",
        rng.randrange(10),
        rng.randrange(10_000) / 100,
        rng.choice(["EUR", "USD"]),
        rng.random() < 0.5,
        rng.choice([None, rng.choice(WORDS)]),
    ]
    return json.dumps(dict(zip(_FIELDS, values, strict=True)))


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}


def _bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
