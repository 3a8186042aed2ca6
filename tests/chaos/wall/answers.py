"""200, and yet no answer; or an answer in words of its own."""

from __future__ import annotations

from tests.chaos.wall.scenario import Scenario, asked, fault, header, refuses, says
from tests.chaos.wall.upstreams import body, either, message
from tests.support.behaviours import CUT, raw, respond, stream
from tests.support.stream_events import DONE, delta, finished, first

HTML = respond(200, "<html><body>Maintenance</body></html>", {"content-type": "text/html"})
GARBAGE = bytes(range(256)) * 8
CHOICE_ERROR = {"index": 0, "error": {"code": 502, "message": "slow down"}, "finish_reason": "error"}

ENDS = {
    "end_turn": "stop",
    "eos_token": "stop",
    "SAFETY": "content_filter",
    "MAX_TOKENS": "length",
    "unheard of": "stop",
}
ERRORS = {
    "429": {"error": {"code": 429, "message": "slow down"}},
    "401, our account": {"error": {"code": 401, "message": "Incorrect API key"}},
    "a word for its code": {"error": {"code": "rate_limit_exceeded", "message": "slow down"}},
    "choices: null": {"choices": None, "error": {"code": 503, "message": "loading"}},
    "in its choice": {"choices": [CHOICE_ERROR]},
    "without the key `error`": {
        "object": "error",
        "message": "out of memory",
        "type": "InternalServerError",
        "code": 500,
    },
    "as `detail`": {"detail": "out of memory"},
}

SCENARIOS: list[Scenario] = [
    *(
        fault(f"200 with an error inside: {name}", {"slm": body(error)}, says(by="llm"))
        for name, error in ERRORS.items()
    ),
    fault(
        "200 with a 429 inside, of the only model",
        {"slm": body({"error": {"code": 429, "message": "slow down, please"}})},
        refuses(429, "rate_limit_exceeded", words="slow down, please", retry_after=True),
        route="slm",
    ),
    fault("200 with `choices: null`", {"slm": body({"choices": None})}, says(by="llm")),
    fault("200 without choices", {"slm": either(respond(200, {"choices": []}), stream(DONE))}, says(by="llm")),
    fault("200 with a page of HTML", {"slm": HTML}, says(by="llm")),
    fault("200 with bytes that mean nothing", {"slm": either(respond(200, GARBAGE), stream(GARBAGE))}, says(by="llm")),
    fault(
        "200 with half of a JSON",
        {"slm": either(respond(200, '{"id": "x", "choi'), stream(b'data: {"id": "x", "choi'))},
        says(by="llm"),
    ),
    fault("200 with an empty body", {"slm": either(respond(200), stream())}, says(by="llm")),
    fault(
        "200 whose body is shorter than it said",
        {"slm": raw(b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"id"', CUT)},
        says(by="llm"),
    ),
    fault(
        "200 with an array nested 100,000 deep",
        {"slm": either(respond(200, "[" * 100_000), stream(b"data: " + b"[" * 100_000 + b"\n\n"))},
        says(by="llm"),
    ),
    fault("an answer without a word", {"slm": message(content="")}, says(by="llm"), also=header("reason", "empty")),
    fault("an answer of blanks", {"slm": message(content=" \n\t")}, says(by="llm"), also=header("reason", "empty")),
    fault("only thoughts", {"slm": message(reasoning="Hm.")}, says(by="llm"), also=header("reason", "only_thoughts")),
    fault(
        "thoughts to the limit",
        {"slm": (message("length", reasoning="Hm."),)},
        says(by="slm"),
        asks={"max_tokens": 64},
        also=asked(slm=2, llm=0),
    ),
    fault("thoughts in the text", {"slm": message(content="<think>\nHm.\n</think>\n\nParis.")}, says(by="slm")),
    fault(
        "no finish_reason",
        {"slm": either(message(None, content="Paris."), stream(first(), finished(None)))},
        says(by="llm"),
    ),
    fault(
        "finish_reason error",
        {"slm": either(message("error", content="Par"), stream(first(), finished("error"), DONE))},
        says(by="llm"),
    ),
    fault(
        "finish_reason abort",
        {"slm": either(message("abort", content="Par"), stream(first(), finished("abort"), DONE))},
        says(by="llm"),
    ),
    *(
        fault(f"finish_reason {word}", {"slm": message(word, content="Paris.")}, says(finish=end, by="slm"))
        for word, end in ENDS.items()
    ),
    fault(
        "finish_reason in the last word's event",
        {
            "slm": stream(
                first(),
                {**delta("Paris."), "choices": [{"index": 0, "delta": {"content": "Paris."}, "finish_reason": "stop"}]},
                DONE,
            )
        },
        says(by="slm"),
        modes=("streamed",),
    ),
]
