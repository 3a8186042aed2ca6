"""`smallfirst prices`, and what a start says of prices that have grown old."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.cli import main
from tests.integration.conftest import Command
from tests.support import gateway as gateways

PRICED = """\
models:
  small:
    tier: slm
    engine: vllm
    base_url: http://127.0.0.1:9/v1
    price: {replica_hour_usd: 0.50, as_of: 2020-01-31}
  unpriced:
    tier: slm
    engine: vllm
    base_url: http://127.0.0.1:10/v1
  large:
    tier: llm
    engine: openai
    base_url: http://127.0.0.1:11/v1
    price:
      input_usd_per_mtok: 2.00
      output_usd_per_mtok: 10.00
      tiers: [{above_prompt_tokens: 200000, input_usd_per_mtok: 4.00, output_usd_per_mtok: 15.00}]
      service_tiers: {flex: {input_usd_per_mtok: 1.00, output_usd_per_mtok: 5.00}}
      as_of: 2999-01-01
      source: https://provider.example/prices
routes:
  auto:
    ladder: [small, unpriced, large]
"""
OLD = "models.small.price: looked up on 2020-01-31, more than half a year ago: does it still hold?"


def test_the_bundled_prices_have_their_day_and_their_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    [mini] = [line.split() for line in lines if line.startswith("gpt-4.1-mini ")]
    assert mini == ["gpt-4.1-mini", "0.4", "0.1", "1.6", "2026-11-10", "https://developers.openai.com/api/docs/pricing"]


def test_prices_of_a_models_yaml_say_where_an_hour_breaks_even(smallfirst: Command) -> None:
    done = smallfirst("prices", PRICED)
    assert done.code == 0
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "USD a million tokens input cached output as of source",
        "small 0.5 an hour 2020-01-31",
        "unpriced no price",
        "large 2 2 10 2999-01-01 https://provider.example/prices",
        "all of prompts above 200,000 tokens 4 4 15",
        "service tier flex 1 1 5",
        "An hour of small costs what 250,000 input or 50,000 output tokens of large cost.",
    ]


def test_check_names_each_price_that_is_older_than_half_a_year(smallfirst: Command) -> None:
    done = smallfirst("check", PRICED)
    assert done.code == 0
    [line] = done.stderr.splitlines()
    assert line.endswith(OLD)
    assert "models.yaml:2" in line


def test_the_log_names_it_once_at_the_start_whatever_the_number_of_workers(tmp_path: Path) -> None:
    with gateways.Gateway(PRICED, tmp_path, args=("--workers", "2")) as gateway:
        assert gateway.output.count(OLD) == 1


def test_an_unknown_bundled_price_is_told_with_file_line_and_near_names(smallfirst: Command) -> None:
    done = smallfirst("check", PRICED.replace("{replica_hour_usd: 0.50, as_of: 2020-01-31}", "{bundled: gpt-4.1-mni}"))
    assert done.code == 2
    assert "models.yaml:6: models.small.price: bundled: no price for 'gpt-4.1-mni'; did you mean" in done.stderr
