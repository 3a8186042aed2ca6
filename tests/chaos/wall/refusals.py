"""An upstream that does not take the request: its own limit, its operator's mistake, or the client's."""

from __future__ import annotations

from typing import Any

from tests.chaos.wall.scenario import Scenario, Stage, Verdict, asked, fault, header, refuses, says
from tests.chaos.wall.upstreams import unless, unsupported
from tests.support.behaviours import Behaviour, answer, error, respond, too_long

NO_PARSER = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
NO_TEMPLATE = "default chat template is no longer allowed, so you must provide a chat template"
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


def both(behaviour: Behaviour) -> dict[str, Behaviour]:
    return {"slm": behaviour, "llm": behaviour}


def _learned_once(stage: Stage, field: str, refusal: Behaviour, **asks: Any) -> Verdict:
    """The first request pays a refused round trip, the second does not, and both are answered by the small model."""
    slm = stage.site("slm")
    slm.always(unless(field, refusal, answer()))
    verdicts = [says(by="slm")(stage.ask(**asks)) for _ in range(2)]
    assert len(slm.calls) == 3, f"asked {len(slm.calls)} times"
    return min(verdicts)


def _temperature(stage: Stage) -> Verdict:
    return _learned_once(stage, "temperature", unsupported("temperature"), temperature=0.5)


def _max_tokens(stage: Stage) -> Verdict:
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    refusal = error(400, message, kind="invalid_request_error", code="unsupported_parameter", param="max_tokens")
    verdict = _learned_once(stage, "max_tokens", refusal, max_tokens=9)
    assert stage.site("slm").last.json["max_completion_tokens"] == 9
    return verdict


def _without_words(stage: Stage) -> Verdict:
    """A refusal that names no field cannot be learned: the next rung answers, and the model is asked again later."""
    slm = stage.site("slm")
    slm.always(error(400, "invalid request", kind="BadRequestError", code=400))
    verdicts = [says(by="llm")(stage.ask(temperature=0.5)) for _ in range(2)]
    assert len(slm.calls) == 2
    return min(verdicts)


SCENARIOS = [
    fault("400 without a reason", {"slm": error(400, "no", code=400)}, says(by="llm"), also=asked(slm=1, llm=1)),
    fault("400: roles must alternate", {"slm": error(400, "roles must alternate user/assistant")}, says(by="llm")),
    fault("402: our account is empty", {"slm": error(402, "Insufficient Balance")}, says(by="llm")),
    fault("401: our key is refused", {"slm": error(401, "Incorrect API key provided: sk-up*")}, says(by="llm")),
    fault("403: our key may not", {"slm": error(403, "Forbidden")}, says(by="llm")),
    fault("404 for the name that we sent", {"slm": error(404, "The model `x` does not exist.")}, says(by="llm")),
    fault("404 of another server's shape", {"slm": respond(404, {"detail": "Not Found"})}, says(by="llm")),
    fault("413", {"slm": error(413, "Request Entity Too Large")}, says(by="llm")),
    fault("422", {"slm": respond(422, {"detail": [{"loc": ["body", "x"], "msg": "no"}]})}, says(by="llm")),
    fault("no parser for calls", {"slm": error(400, NO_PARSER, code=400)}, says(by="llm"), asks={"tools": TOOLS}),
    fault("no chat template", {"slm": error(400, NO_TEMPLATE, code=400)}, says(by="llm")),
    fault(
        "400 of every model",
        {
            "slm": error(400, "the first one's words", kind="invalid_request_error", code="invalid_value"),
            "llm": error(400, "the last one's words", kind="invalid_request_error", code="invalid_value"),
        },
        refuses(400, "invalid_value", words="the first one's words"),
        also=asked(slm=1, llm=1),
    ),
    fault(
        "401 of every model",
        both(error(401, "Incorrect API key provided: sk-up*")),
        refuses(502, "upstream_auth_failed"),
    ),
    fault("402 of every model", both(error(402, "Insufficient Balance")), refuses(502, "upstream_misconfigured")),
    fault(
        "422 of the model that was asked for",
        {"slm": error(422, "no", code="unprocessable")},
        refuses(422, "unprocessable", words="no"),
        route="slm",
    ),
    Scenario("temperature is refused, and remembered", _temperature),
    Scenario("max_tokens has another name, and that is remembered", _max_tokens),
    Scenario("a refusal that names nothing is not learned", _without_words),
    fault(
        "our own stream_options are refused",
        {"slm": unless("stream_options", unsupported("stream_options"), answer())},
        says(by="slm"),
        modes=("streamed",),
    ),
    fault("too long for one model", {"slm": too_long()}, says(by="llm"), also=header("reason", "context")),
    fault("too long for every model", both(too_long()), refuses(400, "context_length_exceeded")),
]
