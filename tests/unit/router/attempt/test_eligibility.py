from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.attempt.abilities import needs
from router.attempt.eligibility import BYTES_PER_TOKEN_AT_LEAST, LETTERS_PER_TOKEN_AT_MOST
from router.attempt.failure import Failure
from router.config.models import Model
from router.money.image_tokens import bounded_prompt
from router.money.price import Price, PromptTier
from router.types import Ability, ChatCall, RoutingOptions
from tests.support.fakes import call, ineligible, large, model
from tests.support.images import png


def saying(text: str, **fields: Any) -> Any:
    return call(messages=[{"role": "user", "content": text}], **fields)


def test_a_model_without_limits_takes_everything() -> None:
    assert ineligible(model(abilities=frozenset({"tools"})), saying("x" * 10**6), frozenset({"tools"})) is None


@pytest.mark.parametrize("ability", ["tools", "structured", "logprobs", "image", "audio", "file"])
def test_names_the_ability_that_is_missing(ability: Ability) -> None:
    able = frozenset({"tools", "structured", "logprobs", "image", "audio", "file"})
    failure = ineligible(model(abilities=able - {ability}), call(), frozenset({ability}))
    assert failure is not None
    assert (failure.reason, failure.retry, failure.error.status) == ("ability", False, 400)
    assert failure.error.code == "unsupported_by_model"
    assert ability in failure.error.message
    assert ineligible(model(abilities=able), call(), frozenset({ability})) is None


@pytest.mark.parametrize(("endpoint", "param"), [("chat/completions", "messages"), ("completions", "prompt")])
def test_a_prompt_that_is_surely_too_long(endpoint: str, param: str) -> None:
    text = "x" * (100 * LETTERS_PER_TOKEN_AT_MOST + 1)
    one = saying(text) if param == "messages" else call(endpoint=endpoint, prompt=text)
    failure = ineligible(model(context=100), one, frozenset())
    assert failure is not None
    assert failure.reason == "context"
    assert (failure.error.code, failure.error.param) == ("context_length_exceeded", param)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_wanted_answer_takes_its_room(name: str) -> None:
    assert ineligible(model(context=100), call(**{name: 100}, messages=[]), frozenset()) is None
    assert ineligible(model(context=100), call(**{name: 101}), frozenset()) is not None
    text = "x" * (50 * LETTERS_PER_TOKEN_AT_MOST)
    assert ineligible(model(context=100), saying(text, **{name: 50}), frozenset()) is None
    assert ineligible(model(context=100), saying(text, **{name: 51}), frozenset()) is not None


# what an engine could make of a token at best: a long word, a run of spaces, of underscores, of punctuation
LONGEST_TOKENS = st.one_of(
    st.text(string.ascii_letters + string.digits, min_size=1, max_size=LETTERS_PER_TOKEN_AT_MOST),
    st.text("é漢", min_size=1, max_size=LETTERS_PER_TOKEN_AT_MOST),
    st.integers(1, 128).map(lambda n: " " * n),
    st.integers(1, 64).map(lambda n: "_" * n),
    st.integers(1, 64).map(lambda n: "-=" * n),
)


@given(st.lists(LONGEST_TOKENS, max_size=60), st.integers(0, 60))
def test_never_refuses_what_could_fit(tokens: list[str], wanted: int) -> None:
    one = saying("".join(tokens), max_tokens=wanted or None)
    assert ineligible(model(context=max(1, len(tokens) + wanted)), one, frozenset()) is None


@pytest.mark.parametrize(("above", "nano_a_token"), [(5000, 400), (1000, 4000)], ids=["out of reach", "within reach"])
def test_a_prompt_of_bounded_length_takes_the_dearest_tier_that_it_may_reach(above: int, nano_a_token: int) -> None:
    tier = PromptTier(above_prompt_tokens=above, input_usd_per_mtok=4.0, output_usd_per_mtok=1.6)
    llm = large(price=Price(input_usd_per_mtok=0.4, output_usd_per_mtok=1.6, tiers=(tier,)))
    one = replace(saying("x" * 3000, max_tokens=10), size=3200)
    worst = 3200 * nano_a_token + 10 * 1600
    for limit, fits in ((worst, True), (worst - 1, False)):
        failure = ineligible(llm, replace(one, routing=RoutingOptions(max_cost_usd=limit / 1e9)), frozenset())
        assert (failure is None) is fits


def test_a_cost_limit_holds_in_the_worst_case() -> None:
    wanted = {"max_tokens": 1000, "n": 2}
    size = saying("x" * 4000, **wanted).size
    worst = size * 400 + 2 * 1000 * 1600  # a token a byte in, all that is asked for out

    def failure(spent: int, limit_nano: int, **more: Any) -> Failure | None:
        call = saying("x" * 4000, **(wanted | more), routing={"max_cost_usd": limit_nano / 1e9})
        return ineligible(large(), replace(call, size=size), frozenset(), spent)

    assert failure(0, worst) is None
    assert failure(7, worst + 7) is None
    for refused in (failure(0, worst - 1), failure(8, worst + 7)):
        assert refused is not None
        assert (refused.reason, refused.error.code) == ("cost", "max_cost_exceeded")
        assert f"{worst / 1e9:.6f}" in refused.error.message


def test_an_answer_without_a_limit_is_as_long_as_the_context() -> None:
    call = saying("x", routing={"max_cost_usd": 0.01})
    assert ineligible(large(context=2048), call, frozenset()) is None
    assert ineligible(large(context=1_000_000), call, frozenset()) is not None
    assert ineligible(large(), call, frozenset()) is not None


def test_hours_are_paid_already_but_an_unknown_price_is_not_nothing() -> None:
    call = saying("x" * 4000, routing={"max_cost_usd": 0.0})
    assert ineligible(model(), call, frozenset()) is None
    assert ineligible(large(price=None), call, frozenset()) is not None


@pytest.mark.parametrize(("fields", "answers"), [({"best_of": 5}, 5), ({"best_of": 5, "n": 2}, 5), ({"n": 3}, 3)])
def test_answers_that_are_made_and_thrown_away_are_paid_too(fields: dict[str, Any], answers: int) -> None:
    one = call(endpoint="completions", prompt=["a", "b"], max_tokens=1000, **fields)
    worst = one.size * 400 + 2 * answers * 1000 * 1600

    def failure(limit_nano: int) -> Failure | None:
        limited = replace(one, routing=replace(one.routing, max_cost_usd=limit_nano / 1e9))
        return ineligible(large(abilities=frozenset({"completions"})), limited, needs(limited))

    assert failure(worst) is None
    refused = failure(worst - 1)
    assert refused is not None
    assert refused.reason == "cost"


def test_best_of_means_nothing_in_a_chat() -> None:
    one = call(max_tokens=1000, best_of=20)
    limited = replace(one, routing=replace(one.routing, max_cost_usd=(one.size * 400 + 1000 * 1600) / 1e9))
    assert ineligible(large(), limited, needs(limited)) is None


@pytest.mark.parametrize("part", ["input_audio", "audio_url", "file"])
def test_what_is_no_text_has_no_worst_case(part: str) -> None:
    """A short URL may name a book."""
    able = frozenset[Ability]({"image", "audio", "file"})
    messages = [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": part}]}]
    one = call(messages=messages, max_tokens=1, routing={"max_cost_usd": 1000.0})
    failure = ineligible(large(abilities=able), one, needs(one))
    assert failure is not None
    assert (failure.reason, failure.error.param) == ("cost", "routing.max_cost_usd")
    assert "an unknown amount" in failure.error.message
    assert "can be of any length" in failure.error.message, "no smaller `max_tokens` would help"
    assert ineligible(model(abilities=able), one, needs(one)) is None, "hours are paid already"
    free = call(messages=messages, max_tokens=1)
    assert ineligible(large(abilities=able), free, needs(free)) is None, "no limit, no worst case"


@pytest.mark.parametrize("url", ["https://example.com/a.png", png(100, 100) + "A" * 1_000_000])
def test_an_image_has_a_worst_case_by_its_size(url: str) -> None:
    content = [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": url}}]
    one = call(messages=[{"role": "user", "content": content}], max_tokens=10)
    tokens = bounded_prompt(one, None)
    assert tokens < 2000
    llm = large(abilities=frozenset[Ability]({"image"}))
    for limit, fits in ((tokens * 400 + 10 * 1600, True), (tokens * 400, False)):
        limited = replace(one, routing=RoutingOptions(max_cost_usd=limit / 1e9))
        assert (ineligible(llm, limited, needs(limited)) is None) is fits


def test_the_advice_fits_the_reason() -> None:
    def message(one: ChatCall, llm: Model) -> str:
        failure = ineligible(llm, one, needs(one))
        assert failure is not None
        return failure.error.message

    little = {"max_cost_usd": 1e-6}
    assert "a smaller `max_tokens` limits it" in message(
        saying("x", max_tokens=1000, routing={"max_cost_usd": 1e-3}), large()
    )
    assert "a smaller `max_tokens` limits it" in message(saying("x", routing=little), large())
    assert "the prompt alone" in message(saying("x" * 4000, max_tokens=1, routing=little), large())
    assert "no price" in message(saying("x", max_tokens=1, routing=little), large(price=None))


# --- engines with limits of their own


@pytest.mark.parametrize("fields", [{"n": 2}, {"endpoint": "completions", "prompt": ["a", "b"]}])
@pytest.mark.parametrize(("engine", "reason"), [("vllm", None), ("ollama", "ability")])
def test_an_engine_with_one_choice(engine: str, reason: str | None, fields: Any) -> None:
    failure = ineligible(model(engine=engine, context=2048), call(**fields), frozenset())
    assert (failure and failure.reason) == reason
    assert failure is None or (failure.retry, failure.error.param) == (False, "n")


@pytest.mark.parametrize(("engine", "reason"), [("vllm", None), ("ollama", "context")])
def test_a_prompt_that_may_be_too_long_is_sent_to_an_engine_that_refuses_it(engine: str, reason: str | None) -> None:
    words = "word " * (100 * BYTES_PER_TOKEN_AT_LEAST // 5 + 1)
    failure = ineligible(model(engine=engine, context=100), saying(words), frozenset())
    assert (failure and failure.reason) == reason


@given(st.text(max_size=50), st.integers(0, 40))
def test_a_prompt_of_an_engine_that_refuses_none_has_room(text: str, wanted: int) -> None:
    failure = ineligible(model(engine="ollama", context=40), saying(text, max_tokens=wanted), frozenset())
    assert (failure is None) == (len(text.encode()) / BYTES_PER_TOKEN_AT_LEAST + wanted <= 40)
