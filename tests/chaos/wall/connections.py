"""An upstream that cannot be reached, or whose connection ends before it has said anything."""

from __future__ import annotations

from tests.chaos.wall.plans import one_of, pair
from tests.chaos.wall.scenario import Scenario, Stage, Verdict, asked, fault, refuses, says
from tests.chaos.wall.upstreams import either
from tests.support.behaviours import CUT, HANG, RESET, Call, Pause, answer, raw, respond, stream
from tests.support.lanes import LONG, Plan, usual
from tests.support.stream_events import first

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n"
BODY_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def one_refuses(plan: Plan) -> None:
    plan.slm(base_url=plan.upstream.refusing_url)
    plan.llm()
    plan.route("auto", "slm", "llm")


def half_refuses(plan: Plan) -> None:
    plan.slm(base_url=[plan.upstream.refusing_url, plan.upstream.url(plan.name("slm"))])


def none_listens(plan: Plan) -> None:
    plan.slm(base_url=plan.upstream.refusing_url)
    plan.llm(base_url=plan.upstream.refusing_url)
    plan.route("auto", "slm", "llm")


def never_accepts(plan: Plan) -> None:
    plan.slm(base_url=plan.upstream.silent_url, timeouts=LONG | {"connect_s": 0.3})
    plan.llm()
    plan.route("auto", "slm", "llm")


def _idle_connection_is_closed(stage: Stage) -> Verdict:
    async def answer_and_close(call: Call) -> None:
        await answer()(call)
        await call.connection.close()

    slm = stage.site("slm")
    slm.always(answer_and_close)
    verdicts = []
    for _ in range(4):
        verdicts.append(says(by="slm")(stage.ask()))
        slm.last.wait_closed()
    return min(verdicts)


SCENARIOS = [
    fault("one model's connection is refused", {}, says(by="llm"), describe=one_refuses),
    fault("one replica's connection is refused", {}, says(by="slm"), describe=half_refuses, route="slm"),
    fault("every connection is refused", {}, refuses(502, "upstream_unreachable"), describe=none_listens),
    fault("a connection that is never accepted", {}, says(by="llm"), describe=never_accepts),
    fault("reset before the headers", {"slm": raw(RESET)}, says(by="llm"), also=asked(slm=1, llm=1)),
    fault("closed before the headers", {"slm": raw(CUT)}, says(by="llm")),
    fault("cut inside the headers", {"slm": raw(b"HTTP/1.1 200 OK\r\ncontent-le", CUT)}, says(by="llm")),
    fault(
        "reset after the headers",
        {"slm": either(raw(HEAD, Pause(0.02), RESET), raw(BODY_HEAD, Pause(0.02), RESET))},
        says(by="llm"),
    ),
    fault(
        "cut before the first word",
        {"slm": either(raw(HEAD, b'{"id": "x", ', CUT), stream(first(), CUT))},
        says(by="llm"),
    ),
    fault("not HTTP at all", {"slm": raw(b"SSH-2.0-OpenSSH_9.2\r\n", CUT)}, says(by="llm")),
    fault(
        "headers without end",
        {"slm": raw(b"HTTP/1.1 200 OK\r\n", *[b"x-filler: " + b"x" * 8000 + b"\r\n"] * 40, HANG)},
        says(by="llm"),
    ),
    fault("a redirect", {"slm": respond(302, b"", {"location": "http://127.0.0.1:1/"})}, says(by="llm")),
    Scenario("an idle connection that the upstream has closed", _idle_connection_is_closed, usual),
    fault(
        "one replica resets, another answers",
        one_of(raw(RESET)),
        says(by="pair"),
        describe=pair,
        also=asked(pair_a=1, pair_b=1, llm=0),
    ),
]
