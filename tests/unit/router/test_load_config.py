"""models.yaml: what loads, and what each mistake says."""

import re
from datetime import date
from pathlib import Path

import pytest

from router.config.models import Config
from router.config.price_list import bundled
from router.errors import ConfigError
from router.load_config import load
from router.policy import POLICIES
from router.policy.guarantee import Guarantee

SECRET = "sk-canary-0123456789"
ENV = {"KEY": SECRET}
BASE = """\
models:
  small:
    tier: slm
    engine: vllm
    source: org/small
  big:
    tier: llm
    engine: openai
    base_url: https://host/v1
    api_key: ${env.KEY}
    price: {input_usd_per_mtok: 0.4, output_usd_per_mtok: 1.6}
routes:
  auto:
    ladder: [small, big]
"""
SIDE = BASE.replace("routes:", "  other: {tier: llm, engine: openai, base_url: https://other/v1}\nroutes:")
*_OTHERS, _LAST = map(repr, POLICIES)
ONE_POLICY = f"{', '.join(_OTHERS)} or {_LAST}"
ROOT = Path(__file__).parents[3]


def route(policy: str, more: str = "") -> str:
    """The base with a policy, and other keys of its route in the same line."""
    return BASE.replace("    ladder: [small, big]\n", f"    {{ladder: [small, big], policy: {policy}, {more}}}\n")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "models.yaml"


@pytest.fixture
def read(path):
    def read(text: str, env=ENV, *, gpu: bool = False) -> Config:
        path.write_text(text)
        return load(path, env, gpu=gpu)

    return read


def test_the_base_loads(read):
    config = read(BASE)
    assert [model.name for model in config.routes["auto"].ladder] == ["small", "big"]
    small, big = config.models["small"], config.models["big"]
    assert (small.managed, small.tier, small.replicas) == (True, "slm", 1)
    assert (big.managed, big.base_url, big.upstream_name) == (False, ("https://host/v1",), "big")
    assert big.api_key.get_secret_value() == SECRET
    assert config.routes["auto"].policy == "fixed"
    assert config.routes["auto"].fallback == big
    assert not config.left_out


def test_a_cascade_has_its_keys(read, path):
    keys = "    policy: cascade\n    evidence: e.json\n    guarantee: {max_quality_loss: 0.05}\n    samples: 5\n"
    one = read(BASE + keys).routes["auto"]
    options = one.options
    assert options.evidence == path.parent / "e.json", "beside models.yaml, wherever the gateway is started"
    assert options.guarantee == Guarantee(max_quality_loss=0.05, confidence=0.9)
    assert (options.min_confidence, options.hold, options.samples) == (None, None, 5)


def test_a_rung_may_hold_experts_side_by_side(read):
    text = BASE.replace("  big:", "  other: {tier: slm, engine: vllm, base_url: http://o/v1}\n  big:")
    one = read(text.replace("[small, big]", "[[small, other], big]")).routes["auto"]
    assert [[model.name for model in rung] for rung in one.rungs] == [["small", "other"], ["big"]]
    assert [model.name for model in one.ladder] == ["small", "other", "big"]


def test_a_bundled_price_is_its_entry_of_the_list(read):
    config = read(BASE.replace("{input_usd_per_mtok: 0.4, output_usd_per_mtok: 1.6}", "{bundled: gemini-2.5-pro}"))
    assert config.models["big"].price is bundled()["gemini-2.5-pro"]


def test_a_price_may_have_tiers_a_day_and_a_source(read):
    tier = "{above_prompt_tokens: 1000, input_usd_per_mtok: 1, output_usd_per_mtok: 2}"
    price = (
        read(BASE.replace("1.6}", f"1.6, tiers: [{tier}], as_of: 2026-11-10, source: the bill}}")).models["big"].price
    )
    assert [rate.above for rate in price.rates] == [-1, 1000]
    assert (price.as_of, price.source) == (date(2026, 11, 10), "the bill")


def test_a_price_may_have_service_tiers(read):
    tier = "{input_usd_per_mtok: 0.2, output_usd_per_mtok: 0.8}"
    price = read(BASE.replace("1.6}", f"1.6, service_tiers: {{flex: {tier}}}}}")).models["big"].price
    assert [rate.input for rate in price.rates_of("flex")] == [200_000_000]


def test_the_example_of_the_design_loads(read):
    config = read(
        """\
models:
  smollm2-135m:
    tier: slm
    engine: vllm
    source: HuggingFaceTB/SmolLM2-135M-Instruct
    replicas: 1
    context: 2048
    vllm_args: {dtype: float32}
    price: {replica_hour_usd: 0.05}
  local-70b:
    tier: llm
    engine: vllm
    base_url: [http://llm-1:8000/v1, http://llm-2:8000/v1]
    price: {replica_hour_usd: 4.0}
  gpt-4.1-mini:
    tier: llm
    engine: openai
    base_url: https://api.openai.com/v1
    api_key: ${env.OPENAI_API_KEY}
    upstream_model: gpt-4.1-mini
    price: {input_usd_per_mtok: 0.40, cached_input_usd_per_mtok: 0.10, output_usd_per_mtok: 1.60}
    timeouts: {connect_s: 2, first_byte_s: 20, idle_s: 20, total_s: 300}
routes:
  auto:
    ladder: [smollm2-135m, gpt-4.1-mini]
    policy: heuristic
""",
        {"OPENAI_API_KEY": SECRET},
    )
    assert set(config.models) == {"smollm2-135m", "local-70b", "gpt-4.1-mini"}
    assert config.models["local-70b"].base_url == ("http://llm-1:8000/v1", "http://llm-2:8000/v1")
    assert config.models["gpt-4.1-mini"].timeouts.first_byte_s == 20
    assert config.routes["auto"].policy == "heuristic"


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("file", ["models.yaml", "deploy/models.yaml"])
def test_the_shipped_files_load_on_every_machine(file, gpu):
    config = load(ROOT / file, {}, gpu=gpu)
    assert config.routes["auto"].ladder
    assert config.left_out


def put(key: str, value: str, under: str = "small") -> str:
    """Return BASE with one more key for a model."""
    return BASE.replace(f"  {under}:\n", f"  {under}:\n    {key}: {value}\n", 1)


WRONG = [
    ("unknown section", BASE + "modells: {}\n", "15: modells: unknown key; did you mean 'models'?"),
    ("unknown key", put("contxt", "3"), "3: models.small.contxt: unknown key; did you mean 'context'?"),
    ("unknown deep key", put("timeouts", "{connect: 2}"), "3: models.small.timeouts.connect: unknown key"),
    ("text for a number", put("context", "big"), "3: models.small.context: expected a whole number, got 'big'"),
    ("quoted number", put("context", "'20'"), "3: models.small.context: expected a whole number, got '20'"),
    ("true for a number", put("context", "true"), "3: models.small.context: expected a whole number, got True"),
    ("no tier", BASE.replace("    tier: slm\n", ""), "2: models.small.tier: missing"),
    ("wrong tier", BASE.replace("slm", "xlm"), "3: models.small.tier: expected 'slm' or 'llm', got 'xlm'"),
    ("wrong engine", BASE.replace("vllm", "tgi"), "4: models.small.engine: expected 'openai', 'llama-cpp-python', "),
    ("no context", BASE.replace("engine: openai", "engine: ollama"), "6: models.big: `engine: ollama` needs `context`"),
    ("both kinds", put("base_url", "http://a/v1"), "2: models.small: expected exactly one of `source`"),
    ("neither kind", BASE.replace("    source: org/small\n", ""), "2: models.small: expected exactly one of"),
    ("managed openai", BASE.replace("vllm", "openai"), "2: models.small: `source` needs `engine: vllm`"),
    ("replicas attached", put("replicas", "2", "big"), "6: models.big: `replicas` is only for models with `source`"),
    ("key managed", put("api_key", SECRET), "2: models.small: `api_key` is only for models with `base_url`"),
    ("no replica", put("replicas", "0"), "3: models.small.replicas: expected greater than or equal to 1, got 0"),
    ("price mix", BASE.replace("{input", "{replica_hour_usd: 1, input"), "11: models.big.price: expected either"),
    ("half a price", BASE.replace(", output_usd_per_mtok: 1.6", ""), "11: models.big.price: expected either"),
    ("empty price", put("price", "{}"), "3: models.small.price: expected either"),
    ("price below 0", BASE.replace("0.4", "-0.4"), "11: models.big.price.input_usd_per_mtok: expected greater"),
    ("price nan", BASE.replace("0.4", ".nan"), "11: models.big.price.input_usd_per_mtok: expected a finite number"),
    (
        "price 1e300",
        BASE.replace("0.4", "1.0e+300"),
        "11: models.big.price.input_usd_per_mtok: expected less than or eq",
    ),
    ("price text", BASE.replace("0.4", "low"), "11: models.big.price.input_usd_per_mtok: expected a number, got 'low'"),
    ("price day", put("price", "{replica_hour_usd: 1, as_of: 5/6/26}"), "3: models.small.price.as_of: expected a date"),
    ("price key", put("price", "{bundeld: a}"), "3: models.small.price.bundeld: unknown key; did you mean 'bundled'?"),
    ("no such price", put("price", "{bundled: gpt-4.1-mni}"), "3: models.small.price: bundled: no price for 'gpt-4.1"),
    ("two prices", put("price", "{bundled: gpt-4.1, as_of: 2026-11-10}"), "3: models.small.price: `bundled` replaces"),
    (
        "tier key",
        BASE.replace("1.6}", "1.6, tiers: [{above: 5}]}"),
        "11: models.big.price.tiers[0].above_prompt_tokens: missing",
    ),
    (
        "service tier key",
        BASE.replace("1.6}", "1.6, service_tiers: {flex: {input_usd_per_mtok: 1, output_usd_per_mtok: 2, input: 1}}}"),
        "11: models.big.price.service_tiers.flex.input: unknown key; expected one of cached_input_usd_per_mtok, "
        "input_usd_per_mtok, output_usd_per_mtok, tiers",
    ),
    (
        "tiers of an hour",
        put(
            "price",
            "{replica_hour_usd: 1, tiers: [{above_prompt_tokens: 5, input_usd_per_mtok: 1, output_usd_per_mtok: 2}]}",
        ),
        "3: models.small.price: `tiers` require a price by tokens",
    ),
    (
        "a probe of nothing",
        put("timeouts", "{probe_s: 2}"),
        "3: models.small.timeouts: `probe_s` needs `min_tokens_per_s`, but there is none",
    ),
    ("timeout 0", put("timeouts", "{idle_s: 0}"), "3: models.small.timeouts.idle_s: expected greater than 0, got 0"),
    ("model none", BASE.replace("small", "none"), "2: models.none: `none` is reserved; choose another name"),
    ("route none", BASE.replace("  auto:", "  none:"), "13: routes.none: `none` is reserved; choose another name"),
    ("ability", put("abilities", "[tool]"), "3: models.small.abilities: unknown ability 'tool'; expected some of"),
    ("abilities text", put("abilities", "tools"), "3: models.small.abilities: expected a list, got 'tools'"),
    ("gpu below 0", put("gpus", "[-1]"), "3: models.small.gpus[0]: expected greater than or equal to 0, got -1"),
    ("no gpu flag", put("requires", "{gpu: maybe}"), "3: models.small.requires.gpu: expected true or false"),
    ("scheme", BASE.replace("https://", "ftp://"), "9: models.big.base_url[0]: expected a URL such as"),
    ("user in URL", BASE.replace("host", f"u:{SECRET}@host"), "9: models.big.base_url[0]: expected a URL without user"),
    ("port", BASE.replace("host", "host:99999"), "9: models.big.base_url[0]: Port out of range"),
    (
        "URL twice",
        BASE.replace("https://host/v1", "[http://h/v1, http://h/v1/]"),
        "6: models.big: `base_url` contains the same URL twice",
    ),
    ("name", BASE.replace("small", "sm all"), "2: models.sm all: expected a name"),
    ("name within", put("name", "other"), "3: models.small.name: unknown key: the name of a model is its key"),
    ("key twice", put("tier", "llm"), "4: models.small.tier: the key appears twice"),
    ("model no mapping", "models: {a: 3}\n", "1: models.a: expected a mapping, got 3"),
    ("unknown rung", BASE.replace("[small", "[smal"), "14: routes.auto.ladder[0]: unknown model 'smal'; did you mean"),
    ("rung twice", BASE.replace("[small, big]", "[big, big]"), "14: routes.auto.ladder[1]: 'big' is in the ladder"),
    ("no rung", BASE.replace("[small, big]", "[]"), "14: routes.auto.ladder: expected at least one entry"),
    ("no list", BASE.replace("[small, big]", "small"), "14: routes.auto.ladder: expected a list, got 'small'"),
    ("no ladder", BASE.replace("ladder: [small, big]", "policy: fixed"), "13: routes.auto.ladder: missing"),
    ("collision", BASE.replace("  auto:", "  big:"), "13: routes.big: a model has the same name"),
    ("threshold unread", BASE + "    threshold: 0.5\n", "13: routes.auto: `threshold` is read by `policy: heuristic`"),
    (
        "policy",
        BASE + "    policy: best\n",
        f"15: routes.auto.policy: expected {ONE_POLICY}, got 'best'",
    ),
    (
        "part of a text",
        BASE.replace("${env", "x${env"),
        "10: models.big.api_key: expected `${env.NAME}` to be the whole",
    ),
    (
        "unset source",
        put("upstream_model", "${env.NO}", "big"),
        "7: models.big.upstream_model: the environment variable NO",
    ),
    ("confidence unread", BASE + "    min_confidence: 0.5\n", "13: routes.auto: `min_confidence` is read by `policy"),
    (
        "vain hold",
        route("classifier", "evidence: e, hold: first"),
        "13: routes.auto: `hold` is read by `policy: cascade`",
    ),
    ("classifier", route("classifier"), "13: routes.auto: `policy: classifier` needs `evidence`"),
    (
        "guarantee",
        route("cascade", "guarantee: {max_quality_loss: 0.1}"),
        "13: routes.auto: `guarantee` needs `evidence`",
    ),
    (
        "two limits",
        route("cascade", "evidence: e, min_confidence: 0.9, guarantee: {max_quality_loss: 0.1}"),
        "13: routes.auto: `guarantee` and `min_confidence` are two ways",
    ),
    (
        "guaranteed beginning",
        route("cascade", "evidence: e, hold: first, guarantee: {max_quality_loss: 0.1}"),
        "13: routes.auto: `guarantee` covers whole answers",
    ),
    (
        "guarantee's key",
        route("cascade", "evidence: e, guarantee: {max_quality_loss: 0.1, max_loss: 1}"),
        "14: routes.auto.guarantee.max_loss: unknown key; did you mean 'max_quality_loss'?",
    ),
    (
        "tiers",
        BASE.replace("[small, big]", "[[small, big], big]"),
        "14: routes.auto.ladder[0]: the models of one rung must",
    ),
    (
        "two fallbacks",
        SIDE.replace("[small, big]", "[small, [big, other]]"),
        "15: routes.auto.ladder[1]: the last rung is the fallback: expected one model",
    ),
    ("empty rung", BASE.replace("[small, big]", "[[], big]"), "14: routes.auto.ladder[0]: expected at least one entry"),
]


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_mistake_names_file_line_key_and_what_was_expected(read, path, text, message):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith(f"{path}:{message}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping with `models` and `routes`, got nothing"),
        ("- a\n", "expected a mapping with `models` and `routes`, got a list"),
        ("routes: {}\n", "models: missing; the key is required"),
    ],
)
def test_a_file_without_models_is_refused(read, path, text, message):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value) == f"{path}: {message}"


def test_every_mistake_is_reported_at_once(read):
    with pytest.raises(ConfigError) as caught:
        read(put("context", "0").replace("llm\n", "big\n"))
    assert {line.split(": ")[1] for line in str(caught.value).splitlines()} == {
        "models.small.context",
        "models.small.engine",
        "models.big.tier",
    }


def test_a_secret_is_in_no_repr_and_no_error(read):
    assert SECRET not in repr(read(BASE))
    for text in (
        BASE.replace("${env.KEY}", f"[{SECRET}]"),
        BASE.replace("${env.KEY}", f"'{SECRET} '"),
        BASE.replace("https://host/v1", f"[https://host/v1?key={SECRET}]"),
        f"models: [{{name: big, api_key: {SECRET}}}]\n",
    ):
        with pytest.raises(ConfigError) as caught:
            read(text)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "line\nend", "", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused(read, key):
    with pytest.raises(ConfigError) as caught:
        read(BASE.replace("${env.KEY}", "'" + key.replace("\n", "\n\n      ") + "'"))
    assert "models.big.api_key: expected a key of visible ASCII characters" in str(caught.value)


@pytest.mark.parametrize("env", [{}, {"KEY": ""}])
def test_a_model_without_its_key_is_left_out_with_one_line(read, env):
    config = read(BASE, env)
    assert list(config.models) == ["small"]
    assert [model.name for model in config.routes["auto"].ladder] == ["small"]
    assert "the environment variable KEY is not set" in config.left_out["big"]
    assert ":10: models.big.api_key" in config.left_out["big"]
    assert config.routes["auto"].fallback.price.output_usd_per_mtok == 1.6  # what the fallback would have cost
    assert config.route("big") is None


ATTACHED = """
models:
  big:
    tier: llm
    engine: openai
    base_url: %s
"""


@pytest.mark.parametrize(
    "url",
    ["http://h /v1", "http://h/\\nv1", "http://@h/v1", "http://h/v1?", "http://h/v1#", "http://h/v1 ", "http://ü/v1"],
)
def test_a_url_that_cannot_be_asked_is_refused(read, url):
    with pytest.raises(ConfigError, match=r":6: models\.big\.base_url(\[0\])?: (URL contains|expected a URL)"):
        read(ATTACHED % f'"{url}"')


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://n.openai.azure.com/openai/deployments/d?api-version=2024-10-21",) * 2,
        ("https://h/v1/?a=b&c=%20", "https://h/v1?a=b&c=%20"),
        ("https://h/v1/", "https://h/v1"),
        ("https://h/@me?a=@", "https://h/@me?a=@"),
    ],
)
def test_a_url_may_have_a_query(read, url, kept):
    assert read(ATTACHED % url).models["big"].base_url == (kept,)


def test_headers_and_the_header_of_the_key(read):
    text = (
        ATTACHED % "http://h/v1" + "    api_key: ${env.KEY}\n    api_key_header: api-key\n    headers: {X-Team: '%s'}\n"
    )
    model = read(text % "ada").models["big"]
    assert model.api_key_header == "api-key"
    assert {name: value.get_secret_value() for name, value in model.headers.items()} == {"X-Team": "ada"}
    assert model.secrets == (SECRET,)
    key = "another-canary-0123456789"
    model = read(text % "${env.TEAM}", ENV | {"TEAM": key}).models["big"]
    assert model.secrets == (SECRET, key)
    assert key not in repr(model)
    left_out = read(SIDE.replace("https://other/v1}", "https://other/v1, headers: {A: '${env.TEAM}'}}")).left_out
    assert "the environment variable TEAM is not set" in left_out["other"]
    azure = SIDE.replace("https://other/v1}", "https://other/v1, api_key: '${env.AZURE}', api_key_header: api-key}")
    assert "the environment variable AZURE is not set" in read(azure).left_out["other"]


@pytest.mark.parametrize(("more", "expected"), [
    ("headers: {'a b': x}", "models.big.headers.a b: expected the name of an HTTP header"),
    ("headers: {Content-Length: '1'}", "the gateway sends this header itself"),
    ("headers: {a: 'secret-canary-\u00fc'}", "models.big.headers.a: expected visible ASCII"),
    ("headers: {a: \"secret-canary\\r\\nb: c\"}", "models.big.headers.a: expected visible ASCII"),
    ("headers: {a: ''}", "expected visible ASCII"),
    ("headers: {a: 1}", "models.big.headers.a: "),
    ("headers: {A: x, a: y}", "name the same header twice"),
    ("headers: {authorization: x}\n    api_key: sk-12345678", "name the same header twice"),
    ("headers: {API-Key: x}\n    api_key: sk-12345678\n    api_key_header: api-key", "name the same header twice"),
    ("api_key_header: api-key", "`api_key_header` needs an `api_key`"),
    ("api_key_header: host\n    api_key: sk-12345678", "the gateway sends this header itself"),
])  # fmt: skip
def test_a_header_that_cannot_be_sent_is_refused(read, more, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)) as caught:
        read(ATTACHED % "http://h/v1" + f"    {more}\n")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("key", ["headers: {a: b}", "api_key_header: api-key"])
def test_headers_are_for_attached_models(read, key):
    with pytest.raises(ConfigError, match="only for models with `base_url`"):
        read(BASE.replace("    source: org/small\n", f"    source: org/small\n    {key}\n"))


@pytest.mark.parametrize(("more", "expected"), [
    ("required: true", "`required: true` needs an `api_key`"),
    ("required: true\n    api_key: sk-12345678\n    requires: {gpu: false}", "contradict each other"),
    ("api_key: $KEY", "expected ${env.NAME}, or the key itself"),
])  # fmt: skip
def test_keys_that_would_do_nothing_are_refused(read, more, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        read(ATTACHED % "http://h/v1" + f"    {more}\n")


def test_a_required_model_without_its_key_refuses_the_start(read):
    with pytest.raises(ConfigError, match=r":11: models\.big\.api_key: the environment variable KEY is not set"):
        read(put("required", "true", "big"), {})


def test_a_model_for_another_machine_is_left_out(read):
    text = put("requires", "{gpu: true}")
    assert read(text, gpu=False).left_out == {
        "small": "small is left out: it requires gpu: true, but this machine has no GPU"
    }
    assert list(read(text, gpu=True).models) == ["small", "big"]
    assert list(read(text.replace("gpu: true", "gpu: false"), gpu=True).models) == ["big"]


def test_a_start_with_nothing_to_serve_is_refused(read):
    with pytest.raises(ConfigError, match="every model is left out") as caught:
        read(put("requires", "{gpu: true}"), {})
    assert "this machine has no GPU" in str(caught.value)
    assert "KEY is not set" in str(caught.value)
    with pytest.raises(ConfigError, match=r"routes\.auto: every model of its ladder is left out"):
        read(BASE.replace("[small, big]", "[big]"), {})


def test_a_models_name_is_a_route_of_one_rung(read):
    config = read(BASE)
    assert config.route("small").ladder == (config.models["small"],)
    assert config.route("auto") is config.routes["auto"]
    assert config.route("absent") is None


def test_config_fields_cannot_be_changed(read):
    with pytest.raises(ValueError, match="frozen"):
        read(BASE).models["small"].tier = "llm"


def test_a_url_keeps_no_slash_at_its_end(read):
    assert read(BASE.replace("host/v1", "host/v1/")).models["big"].base_url == ("https://host/v1",)


def test_each_engine_has_its_usual_abilities(read):
    config = read(BASE)
    assert config.models["small"].abilities == {"completions", "tools", "structured", "logprobs"}
    assert config.models["big"].abilities == {"tools", "structured", "logprobs"}
    written = read(put("abilities", "[completions, image]", "big"))
    assert written.models["big"].abilities == {"completions", "image"}
    assert read(put("abilities", "[]")).models["small"].abilities == set()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (BASE.replace("vllm", "tgi"), "models.small.engine"),
        (BASE.replace("    engine: vllm\n", ""), "models.small.engine"),
        (BASE.replace("slm", "xlm"), "models.small.tier"),
        (BASE.replace("small", "sm all"), "models.sm all"),
        (BASE.replace("small", "none"), "models.none"),
    ],
)
def test_one_mistake_is_one_fault(read, text, key):
    """Also where the default of another key hangs on it: the abilities follow the engine."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    (line,) = str(caught.value).splitlines()
    assert line.split(": ")[1] == key


def test_none_within_a_name_is_a_name(read):
    assert "none-at-all" in read(BASE.replace("small", "none-at-all")).models


def test_the_fallback_is_the_last_as_written_also_where_it_is_left_out(read):
    for env in (ENV, {}):
        route = read(BASE, env).routes["auto"]
        assert route.fallback.name == "big"
        assert [model.name for model in route.ladder] == (["small", "big"] if env else ["small"])
    config = read(BASE.replace("[small, big]", "[big, small]"), {})
    assert config.routes["auto"].fallback is config.models["small"]
    assert config.route("small").fallback is config.models["small"], "a pinned model is its own"


def test_whose_decoding_is_known(read):
    config = read(BASE)
    assert (config.models["small"].backend, config.models["big"].backend) == ("guidance", None)
    pinned = read(BASE.replace("    source: org/small", "    source: org/small\n    structured_backend: xgrammar"))
    assert pinned.models["small"].backend == "xgrammar"
    attached = BASE.replace("source: org/small", "base_url: http://vllm:8000/v1")
    assert read(attached).models["small"].backend is None
    known = attached.replace("8000/v1", "8000/v1\n    structured_backend: guidance")
    assert read(known).models["small"].backend == "guidance"


def test_only_a_vllm_has_a_backend(read):
    with pytest.raises(ConfigError, match="`structured_backend` is only for `engine: vllm`"):
        read(BASE.replace("    api_key", "    structured_backend: guidance\n    api_key"))


@pytest.mark.parametrize("key", ["source", "structured_backend"])
def test_a_key_without_a_value_is_a_key_left_out(read, key):
    assert read(BASE.replace("    api_key", f"    {key}:\n    api_key")).models["big"].engine == "openai"


def test_a_misspelt_key_of_another_policy_is_meant(read):
    with pytest.raises(ConfigError, match="unknown key; did you mean 'threshold'"):
        read(BASE + "    tresh: 1\n")
