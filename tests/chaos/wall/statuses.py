"""An upstream that says that it cannot now: 5xx and 429, at one rung and at all."""

from __future__ import annotations

from tests.chaos.wall.plans import one_of, pair
from tests.chaos.wall.scenario import asked, every, fault, header, refuses, says
from tests.support.behaviours import Behaviour, error, respond

HTML = "<html><body>" + "Bad Gateway " * 2000 + "</body></html>"
BAD_GATEWAY = respond(502, HTML, {"content-type": "text/html"})


def full(retry_after: str | None = None, *, code: str = "rate_limit_exceeded") -> Behaviour:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return error(429, "slow down", kind="requests", code=code, headers=headers)


def both(behaviour: Behaviour) -> dict[str, Behaviour]:
    return {"slm": behaviour, "llm": behaviour}


SCENARIOS = [
    fault("500", {"slm": error(500)}, says(by="llm"), also=every(asked(slm=1, llm=1), header("reason", "error"))),
    fault("500 of every model", both(error(500)), refuses(502, "upstream_error"), also=asked(slm=1)),
    fault("500 of one replica", one_of(error(500)), says(by="pair"), describe=pair, also=asked(llm=0)),
    fault("502 with a page of HTML", {"slm": BAD_GATEWAY}, says(by="llm")),
    fault(
        "502 with a page of HTML, of the only model", {"slm": BAD_GATEWAY}, refuses(502, "upstream_error"), route="slm"
    ),
    fault("503 with Retry-After", {"slm": error(503, headers={"retry-after": "20"})}, says(by="llm")),
    fault(
        "503 with Retry-After, of every model",
        both(error(503, "loading", headers={"retry-after": "20"})),
        refuses(503, "overloaded", retry_after=True),
    ),
    fault("504", {"slm": error(504)}, says(by="llm")),
    fault("504 of every model", both(error(504)), refuses(504, "upstream_timeout")),
    fault("429 without Retry-After", {"slm": full()}, says(by="llm")),
    fault("429 with Retry-After", {"slm": full("30")}, says(by="llm")),
    fault("429 of one replica", one_of(full("30")), says(by="pair"), describe=pair, also=asked(llm=0)),
    fault("429 of every model", both(full()), refuses(429, "rate_limit_exceeded", words="slow down", retry_after=True)),
    fault(
        "429 with Retry-After, of every model",
        both(full("30")),
        refuses(429, "rate_limit_exceeded", words="slow down", retry_after=True),
    ),
    fault(
        "429 with a Retry-After that is no number",
        both(full("soon")),
        refuses(429, "rate_limit_exceeded", retry_after=True),
    ),
    fault("429 for an empty account", {"slm": full(code="insufficient_quota")}, says(by="llm")),
    fault("529, which no standard has", {"slm": error(529)}, says(by="llm")),
]
