"""`smallfirst models`: the table, one model, and what fits a card."""

from __future__ import annotations

import pytest
import yaml

from router.catalogue.bundled import catalogue, find
from router.catalogue.resolve import settings
from server.cli import main
from server.commands.models import details, fit_table, in_words, model_table


def test_the_table_has_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert " ".join(header.split()) == "name parameters context tools thinks bf16 fp8 int4 card commercial use"
    assert [line.split()[0] for line in lines[: len(catalogue())]] == list(catalogue())


def test_a_line_says_what_one_needs_to_choose() -> None:
    rows = {line.split("  ")[0]: line.split() for line in model_table(list(catalogue().values())).splitlines()}
    assert rows["qwen3.5-4b"] == [
        "qwen3.5-4b", "4.2B", "262,144", "qwen3_coder", "on", "8.4", "4.8", "3.1", "12", "GB", "yes", "(Apache-2.0)"
    ]  # fmt: skip
    assert " ".join(rows["phi-4-mini"][3:6]) == "in text no"
    assert " ".join(rows["gemma-3-1b"][3:5]) == "no no"
    assert " ".join(rows["xlam-2-8b"]).endswith("no: research only (CC-BY-NC-4.0)")


@pytest.mark.parametrize("name", catalogue())
def test_a_model_is_shown_with_its_entry_for_models_yaml(name: str) -> None:
    entry = find(name)
    text = details(entry)
    short, whole = text.partition("In models.yaml, under `models`:")[2].split("It stands for:")
    trust = {"transformers_args": {"trust_remote_code": True}} if entry.own_code else {}
    assert yaml.safe_load(short) == {name: {"source": f"catalogue:{name}"} | trust}
    assert yaml.safe_load(whole) == {name: settings(entry)}
    for shown in (*entry.sources, entry.licence.name, str(entry.as_of), *entry.unverified):
        assert shown in text
    assert " ".join(text.split()).count(" ".join("".join(entry.notes[:1]).split())) >= 1


def test_a_model_with_a_window_in_all_layers_has_no_size_a_token() -> None:
    assert "  KV cache         1.61 GB for 4,096 tokens" in details(find("phi-3-mini-4k")).splitlines()
    assert (
        "  KV cache         131,072 bytes a token; 4.29 GB for 32,768 tokens"
        in details(find("phi-4-mini")).splitlines()
    )


def test_an_unknown_model_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "phi-4"]) == 2
    assert "no entry 'phi-4' in the catalogue; did you mean 'phi-4-mini'" in capsys.readouterr().err


def test_what_fits_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--fit", "24"]) == 0
    rows = {line.split("  ")[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert rows["phi-4-mini"] == "phi-4-mini 98,479 123,057 131,072 (all)"
    assert rows["smollm2-135m"] == "smollm2-135m 8,192 (all) 8,192 (all) 8,192 (all)"


def test_what_does_not_fit_is_named() -> None:
    text = fit_table([find("phi-4-mini"), find("xlam-2-8b")], 6)
    assert "phi-4-mini  -     -    " in text
    assert "Too large for 6 GB: xlam-2-8b" in text
    assert fit_table([find("xlam-2-8b")], 1.5).startswith("Too large for 1.5 GB: xlam-2-8b\n")


def test_one_model_on_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "phi-4-mini", "--fit", "24GB"]) == 0
    assert "qwen" not in capsys.readouterr().out


@pytest.mark.parametrize("size", ["0", "-1", "big", "inf", "nan", ""])
def test_a_wrong_card_is_told(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["models", f"--fit={size}"])
    assert f"expected the memory of a GPU in GB, such as 24, got {size!r}" in capsys.readouterr().err


def test_sizes_are_in_words() -> None:
    assert [in_words(n) for n in (134_515_008, 999_885_952, 3_836_021_760)] == ["135M", "1.0B", "3.8B"]
