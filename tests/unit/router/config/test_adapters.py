"""`adapters` in models.yaml: each a model of its own, and what each mistake says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from router.config.models import Config, without_adapters
from router.errors import ConfigError
from router.load_config import load

FILE = """\
models:
  small:
    tier: slm
    engine: vllm
    source: org/small
    context: 2048
    price: {replica_hour_usd: 1}
    adapters:
      orders: ./adapters/orders
      tickets: owner/tickets-lora
  large: {tier: llm, engine: openai, base_url: https://host/v1}
routes:
  auto:
    ladder: [[orders, small], large]
"""


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Config]:
    def read(text: str, *, gpu: bool = False) -> Config:
        (tmp_path / "models.yaml").write_text(text)
        return load(tmp_path / "models.yaml", {}, gpu=gpu)

    return read


def test_each_adapter_is_a_model_of_its_own(read: Callable[..., Config], tmp_path: Path) -> None:
    config = read(FILE)
    assert list(config.models) == ["small", "orders", "tickets", "large"]
    small, orders = config.models["small"], config.models["orders"]
    assert (orders.tier, orders.context, orders.price, orders.timeouts) == ("slm", 2048, small.price, small.timeouts)
    assert (orders.abilities, orders.backend) == (small.abilities, "guidance")
    assert orders.adapter_of == "small"
    assert orders.where == f"{tmp_path / 'models.yaml'}:9: models.small.adapters.orders"
    assert config.routes["auto"].rungs[0] == (orders, small)
    assert config.resolve("tickets").ladder == (config.models["tickets"],)
    assert [model.name for model in without_adapters(config.models)] == ["small", "large"]


def test_adapters_of_a_model_that_is_left_out_are_left_out(read: Callable[..., Config]) -> None:
    config = read(FILE.replace("    context: 2048\n", "    requires: {gpu: true}\n"))
    assert list(config.models) == ["large"]
    assert config.left_out["orders"] == "orders is left out: it is an adapter of small"
    assert set(config.written) == {"small", "orders", "tickets", "large"}
    assert [model.name for model in config.routes["auto"].ladder] == ["large"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("tickets: owner", "large: owner", "models.yaml:10: models.small.adapters.large: another model has the same"),
        ("tickets: owner", "small: owner", "models.yaml:10: models.small.adapters.small: another model has the same"),
        ("auto:", "orders:", "models.yaml:13: routes.orders: a model has the same name"),
        ("tickets: owner", "a b: owner", "starting with a letter or digit, got 'a b'"),
        ("tickets: owner", "none: owner", "models.yaml:10: models.small.adapters.none: `none` is reserved"),
        ("./adapters/orders", "5", "models.yaml:9: models.small.adapters.orders: expected text, got 5"),
        (
            "[[orders, small], large]",
            "[xyz, large]",
            "unknown model 'xyz'; expected one of small, orders, tickets, large",
        ),
        ("[[orders, small], large]", "[order, large]", "unknown model 'order'; did you mean 'orders'?"),
        ("large: {", "large: {adapters: {a: ./a}, ", "models.yaml:11: models.large"),
        ("large: {", "large: {adapter_of: small, ", "unknown key: an adapter is written in `adapters` of its model"),
        ("    source: org/small", "    base_url: http://host/v1", "`adapters` is only for models with `source`"),
    ],
)
def test_each_mistake_names_file_line_and_key(read: Callable[..., Config], old: str, new: str, says: str) -> None:
    assert old in FILE
    with pytest.raises(ConfigError, match=re.escape(says)):
        read(FILE.replace(old, new, 1))


def test_another_engine_has_none(read: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"models\.yaml:11: models\.large\.adapters: `adapters` need `engine: vllm`"):
        read(FILE.replace("large: {", "large: {adapters: {a: ./a}, "))


def test_two_models_cannot_have_the_same_adapter(read: Callable[..., Config]) -> None:
    other = "  other: {tier: slm, engine: vllm, source: org/other, adapters: {orders: ./orders}}\n"
    with pytest.raises(ConfigError, match=r"models\.other\.adapters\.orders: another model has the same name"):
        read(FILE.replace("  large:", f"{other}  large:"))
