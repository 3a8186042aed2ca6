from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from router.attempt.failure import classify
from router.errors import ApiError, Misconfigured, Overloaded, UpstreamFailed, UpstreamRejected, UpstreamTimedOut
from router.upstream.base import Dialect
from router.upstream.dialects import DIALECTS
from router.upstream.dialects.openai import VLLM_ONLY, OpenAIDialect
from router.upstream.dialects.vllm import VllmDialect
from server.endpoints.chat import CHAT_ENDPOINT
from server.endpoints.decode import decode
from tests.support.fakes import call, large, model

OPENAI, VLLM = OpenAIDialect(), VllmDialect()
BOTH = pytest.mark.parametrize("dialect", [OPENAI, VLLM], ids=["openai", "vllm"])
FORWARDING = pytest.mark.parametrize("name", ["openai", "vllm", "llamacpp", "sglang"])
EACH = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
CANARY = "sk-canary-1234"


def sent(dialect: Dialect, one: Any, to: Any = None) -> dict[str, Any]:
    return dict(json.loads(msgspec.json.encode(dialect.body(one, to or model())[0])))


def refused(dialect: Dialect, status: int, body: Any, retry_after_s: float | None = None) -> ApiError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return dialect.refusal(model(), status, raw, retry_after_s)


def shown(error: ApiError) -> dict[str, Any]:
    shape = error.body()["error"]
    assert {"message", "type", "param", "code"} <= shape.keys()
    assert isinstance(shape["message"], str)
    assert shape["message"]
    assert isinstance(shape["type"], str)
    assert shape["code"] is None or isinstance(shape["code"], str)
    assert shape["code"] == error.code
    return dict(shape)


# --- what is sent


@EACH
def test_the_upstream_gets_its_own_name_of_the_model(dialect: Dialect) -> None:
    assert sent(dialect, call(), model(upstream_model="org/Model"))["model"] == "org/Model"
    assert sent(dialect, call(), model("slm"))["model"] == "slm"


@EACH
def test_a_stream_always_tells_its_usage(dialect: Dialect) -> None:
    assert sent(dialect, call(stream=True))["stream_options"] == {"include_usage": True}
    assert sent(dialect, call(stream=True, stream_options=None))["stream_options"] == {"include_usage": True}
    options = {"include_usage": False, "continuous_usage_stats": True}
    assert sent(dialect, call(stream=True, stream_options=options))["stream_options"] == {
        "include_usage": True,
        "continuous_usage_stats": True,
    }
    assert "stream_options" not in sent(dialect, call())


@EACH
def test_the_clients_own_body_is_not_changed(dialect: Dialect) -> None:
    messages = [{"role": "developer", "content": "x"}]
    options = {"include_usage": False}
    one = call(stream=True, stream_options=options, messages=messages, top_k=3)
    before = json.dumps(one.body)
    dialect.body(one, large())
    assert json.dumps(one.body) == before


@FORWARDING
def test_unknown_fields_big_integers_and_all_of_unicode_survive(name: str) -> None:
    dialect = DIALECTS[name]
    one = call(zzz={"deep": [1, None, True]}, seed=2**63 - 1, huge=10**300, text="\u20ac \U0001f600 \x00", f=1e-7)
    body = sent(dialect, one)
    for key in ("zzz", "seed", "huge", "text", "f"):
        assert body[key] == one.body[key], key


@FORWARDING
def test_what_need_not_change_goes_on_as_it_was_written(name: str) -> None:
    dialect = DIALECTS[name]
    odd = b'{"a":1e2,"a": 1.0 , "b":"\\u20AC \xe2\x82\xac"}'
    raw = b'{"model": "auto", "zzz" : ' + odd + b',  "messages":[{"role":"user", "content":"x"}]}'
    sent_ = msgspec.json.encode(dialect.body(decode(CHAT_ENDPOINT, raw), model())[0])
    assert odd in sent_
    assert b'[{"role":"user", "content":"x"}]' in sent_


def test_openai_is_not_sent_what_only_vllm_knows_and_says_so() -> None:
    only = dict.fromkeys(VLLM_ONLY, 1)
    body, adapted = OPENAI.body(call(**only, logit_bias={"1": 2}), large())
    assert adapted == tuple(f"{name}=dropped" for name in sorted(VLLM_ONLY))
    assert body.keys() == {"model", "messages", "logit_bias"}


def test_vllm_is_sent_everything() -> None:
    only = dict.fromkeys(VLLM_ONLY, 1)
    body, adapted = VLLM.body(call(**only), model())
    assert adapted == ()
    assert body.keys() >= VLLM_ONLY


def test_developer_becomes_system_for_vllm_only() -> None:
    messages = [{"role": "developer", "content": "a", "name": "n"}, {"role": "user", "content": "developer"}]
    one = call(messages=messages)
    assert sent(OPENAI, one)["messages"] == messages
    assert sent(VLLM, one)["messages"] == [{"role": "system", "content": "a", "name": "n"}, messages[1]]


def test_completions_have_no_messages() -> None:
    assert sent(VLLM, call(endpoint="completions", prompt="x"))["prompt"] == "x"


# --- what vLLM 0.32 answers, as observed


def observed(message: str, param: str | None = None, code: int = 400, kind: str = "BadRequestError") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@EACH
@pytest.mark.parametrize(
    "error",
    [
        observed(
            "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input "
            "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
            "prompt. (parameter=input_tokens, value=2049)",
            "input_tokens",
        ),
        observed(
            "max_tokens=4000 cannot be greater than max_model_len=2048. Please request fewer output tokens. "
            "(parameter=max_tokens, value=4000)",
            "max_tokens",
        ),
        observed("The input (150000 tokens) is longer than the model's context length (128000 tokens)."),
    ],
)
def test_vllms_words_for_too_long_whoever_stands_before_it(dialect: Dialect, error: dict[str, Any]) -> None:
    got = refused(dialect, 400, error)
    assert (got.status, got.code, shown(got)["type"]) == (400, "context_length_exceeded", "invalid_request_error")
    assert shown(got)["message"] == error["error"]["message"]
    assert classify(got).reason == "context"


@pytest.mark.parametrize(
    "message",
    [
        'Failed to transform json schema into a grammar: [08:08:13] <path>:4944: Unsupported type "objekt"',
        "Failed to transform json schema into a grammar: [08:08:13] <path>:4944: properties must be an object",
        "The provided JSON schema contains features not supported by xgrammar.",
        "Invalid structural tag specification.",
    ],
)
def test_vllm_schema_that_it_cannot_enforce(message: str) -> None:
    got = refused(VLLM, 400, observed(message))
    assert (got.status, got.code) == (400, "unsupported_schema")
    assert shown(got)["message"] == message
    assert classify(got).reason == "ability"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, observed("temperature must be non-negative, got -3.0. (parameter=temperature)", "temperature")),
        (400, observed("1 validation error:\n  {'type': 'missing', 'loc': 'body.messages'}", "body.messages",
                       kind="Bad Request")),
    ],
)  # fmt: skip
def test_other_errors_of_vllm_keep_status_message_and_param_and_get_openais_type(
    status: int, error: dict[str, Any]
) -> None:
    got = refused(VLLM, status, error)
    assert isinstance(got, UpstreamRejected)
    assert got.status == status
    assert shown(got) == {
        "message": error["error"]["message"][:500],
        "type": "invalid_request_error",
        "param": error["error"]["param"],
        "code": None,
    }
    assert classify(got).reason == "rejected"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, observed('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
         "tool_parser"),
        (400, observed("As of transformers v4.44, default chat template is no longer allowed"), "chat_template"),
        (500, {"error": {"message": "tools param requires --jinja flag", "code": 500}}, "tool_parser"),
        (404, observed("The model `nope` does not exist. Valid aliases: slm.", "model", 404, "NotFoundError"),
         "model_name"),
        (402, {"error": {"message": "Insufficient Balance"}}, "account"),
        (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}, "account"),
        (400, {"error": {"message": "Your credit balance is too low to access the API."}}, "account"),
    ],
)  # fmt: skip
def test_what_the_operator_must_mend_is_not_told_to_clients(status: int, error: dict[str, Any], kind: str) -> None:
    got = refused(VLLM, status, error)
    assert isinstance(got, Misconfigured)
    assert (got.kind, got.status, got.code) == (kind, 502, "upstream_misconfigured")
    assert got.told == error["error"]["message"]
    assert got.told not in json.dumps(got.body())


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"type": "BadRequestError", "code": 400}, ("invalid_request_error", None)),
        ({"type": "invalid_request_error", "code": "image_too_large"}, ("invalid_request_error", "image_too_large")),
        ({"type": "image_error", "code": 400}, ("image_error", None)),
        ({"type": "Not Found", "code": "404"}, ("invalid_request_error", "404")),
        ({"type": None, "code": None}, ("invalid_request_error", None)),
        ({"type": 400, "code": True}, ("invalid_request_error", None)),
        ({}, ("invalid_request_error", None)),
    ],
)
def test_vllms_codes_and_types_are_kept_where_they_are_words(
    said: dict[str, Any], kept: tuple[str, str | None]
) -> None:
    got = refused(VLLM, 400, {"error": {"message": "a", "param": "p", **said}})
    assert (shown(got)["type"], shown(got)["code"]) == kept
    assert (shown(got)["message"], shown(got)["param"]) == ("a", "p")
    assert classify(got).reason == "rejected"


# --- what any server answers


@EACH
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [{"error": {"message": f"Incorrect API key: {CANARY}"}}, CANARY.encode()])
def test_our_key_is_never_shown(dialect: Dialect, status: int, body: Any) -> None:
    got = refused(dialect, status, body)
    assert (type(got), got.status, got.code) == (Misconfigured, 502, "upstream_auth_failed")
    assert CANARY not in json.dumps(got.body())
    assert CANARY not in str(got)


def refused_with(key: str, dialect: Dialect, body: Any, status: int = 400) -> str:
    """Return the error as the client gets it, of a model with that key."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = dialect.refusal(model(api_key=SecretStr(key)), status, raw, None)
    return json.dumps(error.body()) + str(error)


ODD_KEY = "sk-a\\b\"c'd-0123"
KEYS = pytest.mark.parametrize("key", [CANARY, ODD_KEY], ids=["plain", "odd"])


@EACH
@KEYS
@pytest.mark.parametrize("status", [400, 404, 408, 422, 429, 500, 503])
@pytest.mark.parametrize(
    "body",
    [
        lambda key: {"error": {"message": f"wrong: {key}, {key}", "param": key, "type": key, "code": key}},
        lambda key: {"error": {"message": "x", "deep": [{"a": [key, 7, None]}, {key: {"b": f"<{key}>"}}]}},
        lambda key: {"error": {"message": {"en": [key]}}},
        lambda key: {"error": key},
        lambda key: {"message": key},
        lambda key: {"detail": key},
        lambda key: {"detail": [{"msg": key, "loc": [key]}]},
        lambda key: key,
    ],
)
def test_our_key_is_redacted_wherever_it_stands(dialect: Dialect, key: str, status: int, body: Any) -> None:
    seen = refused_with(key, dialect, body(key), status)
    for part in (key, json.dumps(key)[1:-1], repr(key)[1:-1], key[:6]):
        assert part not in seen


@EACH
@KEYS
@pytest.mark.parametrize("shape", [lambda text: {"error": text}, lambda text: {"detail": text}, lambda text: text,
                                   lambda text: {"error": {"message": text}}])  # fmt: skip
def test_a_message_is_not_cut_within_our_key_before_it_is_redacted(dialect: Dialect, key: str, shape: Any) -> None:
    for before in range(500 - len(key), 501):
        seen = refused_with(key, dialect, shape("x" * before + key))
        assert key[:6] not in seen
        assert json.dumps(key)[1:7] not in seen


@EACH
def test_a_key_in_a_header_is_redacted_as_well(dialect: Dialect) -> None:
    keyed = model(headers={"X-Key": CANARY + "0123456789", "X-Title": "short"})
    body = json.dumps({"error": {"message": f"wrong: {CANARY}0123456789, short"}}).encode()
    seen = json.dumps(dialect.refusal(keyed, 400, body, None).body())
    assert CANARY not in seen
    assert "short" in seen


@EACH
def test_the_key_goes_into_the_configured_header_and_others_beside_it(dialect: Dialect) -> None:
    usual = dialect.headers(model(api_key=CANARY), "id")
    assert usual["Authorization"] == f"Bearer {CANARY}"
    azure = dialect.headers(model(api_key=CANARY, api_key_header="api-key", headers={"X-Team": "ada b"}), "id")
    del usual["Authorization"]
    assert azure == {**usual, "api-key": CANARY, "X-Team": "ada b"}
    assert "Authorization" not in dialect.headers(model(), "id")


@EACH
@pytest.mark.parametrize("key", ["EMPTY", "x", "1234567"])
def test_a_key_of_few_characters_is_a_placeholder(dialect: Dialect, key: str) -> None:
    seen = refused_with(key, dialect, {"error": {"message": f"an {key} box, 2048", "param": key}})
    assert f"an {key} box, 2048" in seen
    assert "redacted" not in seen
    assert "[redacted]" in refused_with("12345678", dialect, {"error": {"message": "12345678"}})


@EACH
@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e999"])
def test_what_no_json_can_hold_is_not_handed_on(dialect: Dialect, number: bytes) -> None:
    got = refused(dialect, 400, b'{"error": {"message": "a", "extra": %s}}' % number)
    json.dumps(got.body(), allow_nan=False)
    assert got.status == 400


def test_429_keeps_code_and_retry_after() -> None:
    error = {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    got = refused(OPENAI, 429, {"error": error}, 7.5)
    assert shown(got) == error
    assert (got.status, got.retry_after_s) == (429, 7.5)
    assert classify(got).reason == "overloaded"
    assert (
        shown(refused(OPENAI, 429, {"error": {"message": "slow down", "code": "429"}}))["code"] == "rate_limit_exceeded"
    )


@BOTH
@pytest.mark.parametrize(("given", "kept"), [(None, 1.0), (0.0, 0.0), (20.0, 20.0)])
def test_429_always_says_when(dialect: Dialect, given: float | None, kept: float) -> None:
    got = refused(dialect, 429, b"busy", given)
    assert got.retry_after_s == kept
    assert shown(got)["code"] == "rate_limit_exceeded"


@BOTH
@pytest.mark.parametrize("status", [503, 529])
def test_overload(dialect: Dialect, status: int) -> None:
    got = refused(dialect, status, {"error": {"message": "full"}}, 4.0)
    assert isinstance(got, Overloaded)
    assert (got.status, got.retry_after_s) == (503, 4.0)
    assert refused(dialect, status, b"").retry_after_s == 1.0
    assert not classify(got).speaks_against_replica


@BOTH
@pytest.mark.parametrize(
    ("status", "kind"),
    [(408, UpstreamTimedOut), (504, UpstreamTimedOut), (500, UpstreamFailed), (502, UpstreamFailed),
     (204, UpstreamFailed), (302, UpstreamFailed), (599, UpstreamFailed)],
)  # fmt: skip
def test_statuses(dialect: Dialect, status: int, kind: type[ApiError]) -> None:
    got = refused(dialect, status, {"error": {"message": "because"}})
    assert type(got) is kind
    assert str(status) in got.message
    assert "because" in got.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "a", "code": "c", "type": "t", "param": "p"}}, "a"),
        ({"error": "a"}, "a"),
        ([{"error": {"message": "a", "code": 400, "status": "INVALID_ARGUMENT"}}], "a"),
        (b"Failed to deserialize the JSON body: unknown field `a`", "unknown field `a`"),
        ({"message": "a", "code": 400}, "a"),
        ({"object": "error", "message": "a", "type": "BadRequestError", "code": 400}, "a"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"errors": [{"code": "x", "message": "a"}], "trace": "y"}, "a"),
        ({"title": "Bad Request", "errors": {"stop": ["The field is not supported."]}}, "not supported"),
        ({"detail": [{"loc": ["body"], "msg": "missing"}]}, "missing"),
        ("a", "a"),
        (b"<html>Bad Gateway</html>", "Model 'slm': the upstream answered 400"),
        (b"", "Model 'slm': the upstream answered 400"),
        (b"\xff\xfe", "Model 'slm': the upstream answered 400"),
        (b"[" * 100_000, "Model 'slm': the upstream answered 400"),
        ({"error": None}, "Model 'slm': the upstream answered 400"),
        ({"error": {}}, "Model 'slm': the upstream answered 400"),
        ({"error": {"message": None}}, "Model 'slm': the upstream answered 400"),
        ({"error": {"message": {"en": "a"}}}, "a"),
        ([], "Model 'slm': the upstream answered 400"),
        (7, "Model 'slm': the upstream answered 400"),
    ],
    ids=lambda value: repr(value)[:40],
)
@BOTH
def test_bodies_of_every_shape(dialect: Dialect, body: Any, message: str) -> None:
    got = refused(dialect, 400, body)
    assert isinstance(got, UpstreamRejected)
    assert got.status == 400
    assert message in shown(got)["message"]


@pytest.mark.parametrize("code", [400, 400.5, True, [], {}])
def test_codes_that_are_no_strings_become_null(code: object) -> None:
    got = refused(OPENAI, 400, {"error": {"message": "a", "code": code, "type": code}})
    assert (shown(got)["code"], shown(got)["type"]) == (None, "invalid_request_error")


def test_openai_keeps_the_upstreams_own_words() -> None:
    error = {"message": "a", "type": "image_error", "param": "messages[0]", "code": "bad_image", "extra": {"x": 1}}
    assert shown(refused(OPENAI, 422, {"error": error})) == error


@pytest.mark.parametrize(
    "error", [{"code": "context_length_exceeded"}, {"type": "exceed_context_size_error", "code": 400}]
)
def test_other_servers_words_for_too_long(error: dict[str, Any]) -> None:
    got = refused(OPENAI, 400, {"error": {"message": "a", **error}})
    assert (got.code, shown(got)["type"]) == ("context_length_exceeded", "invalid_request_error")
    assert classify(got).reason == "context"


def test_a_code_says_more_than_words_that_may_be_the_client_s() -> None:
    words = "Invalid 'name': string 'maximum context length' does not match pattern '^[a-z]+$'."
    got = refused(OPENAI, 400, {"error": {"message": words, "type": "invalid_request_error", "code": "invalid_value"}})
    assert (got.code, classify(got).reason) == ("invalid_value", "rejected")


def test_an_endless_message_is_cut() -> None:
    assert len(shown(refused(OPENAI, 400, {"error": {"message": "x" * 10_000}}))["message"]) == 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "type", "param", "detail"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@BOTH
@given(status=st.integers(200, 599), body=JSON | st.binary(max_size=20))
def test_no_answer_is_too_strange_to_be_shown(dialect: Dialect, status: int, body: Any) -> None:
    got = refused(dialect, status, body)
    shown(got)
    assert 400 <= got.status < 600
    classify(got)
