"""`smallfirst check` with models of the catalogue."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from router.catalogue.bundled import catalogue, find
from router.catalogue.resolve import settings
from router.config.models import Config, Model
from router.config.swap import SwapGroup
from server.cli import main
from server.commands.check import loading_lines

API = "  large: {tier: llm, engine: openai, base_url: http://127.0.0.1:9/v1}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "models.yaml"


@pytest.mark.parametrize("name", catalogue())
def test_every_entry_is_accepted(name: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = find(name)
    trust = "transformers_args: {trust_remote_code: true}" if entry.own_code else ""
    config.write_text(
        f"models:\n  small: {{source: 'catalogue:{name}', {trust}}}\n{API}"
        "routes: {auto: {ladder: [small, large]}}\n"
    )
    status = main(["check", "--config", str(config)])
    out, err = capsys.readouterr()
    assert (status, out) == (0, f"{config}: 2 models, 1 route: valid\n")
    assert ("not for commercial use" in err) == (entry.licence.commercial == "forbidden")
    assert ("small: engine transformers: one request at a time" in err) == (entry.engine == "transformers")
    assert len(err.splitlines()) == (entry.licence.commercial == "forbidden") + (entry.engine == "transformers")


def test_serve_says_it_too_when_it_starts(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text("models:\n  small: {source: 'catalogue:xlam-2-8b'}\n")
    assert main(["serve", "--config", str(config), "--port", "99999"]) == 2
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "small: Salesforce/Llama-xLAM-2-8b-fc-r is not for commercial use: research only (CC-BY-NC-4.0)"
    assert "99999" in last


def test_vllm_is_installed_here() -> None:
    """So that the test above checks entries as a server does before its start."""
    assert importlib.util.find_spec("vllm")


def test_verbose_prints_what_was_filled_in(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(
        "models:\n"
        "  small: {catalogue: phi-4-mini, source: ./, context: 512, vllm_args: {chat_template: null, dtype: float32}}\n"
        "  large: {tier: llm, engine: openai, base_url: http://127.0.0.1:9/v1, api_key: '${env.A_KEY}'}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(config.parent)
        patch.setenv("A_KEY", "sk-canary-123")
        assert main(["check", "--verbose", "--config", str(config)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last.endswith("valid")
    assert "canary" not in "\n".join(lines)
    shown = yaml.safe_load("\n".join(lines))["models"]
    assert shown["small"] == settings(find("phi-4-mini")) | {
        "catalogue": "phi-4-mini",
        "source": "./",
        "context": 512,
        "vllm_args": {"enable_auto_tool_choice": True, "tool_call_parser": "hermes", "dtype": "float32"},
        "abilities": ["completions", "logprobs", "structured", "tools"],
    }
    assert shown["large"]["base_url"] == ["http://127.0.0.1:9/v1"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("source: catalogue:phi-4-mni", ":3: models.small.source: no entry 'phi-4-mni' in the catalogue; did you mean"),
        ("catalogue: phi-4-mni", ":3: models.small.catalogue: no entry 'phi-4-mni' in the catalogue; did you mean"),
        ("catalogue: [a]", ":3: models.small.catalogue: expected a name"),
        ("source: catalogue:phi-4-mini\n    vllm_args: 3", ":4: models.small.vllm_args: expected a mapping, got 3"),
        (
            "source: catalogue:phi-4-mini\n    contxt: 3",
            ":4: models.small.contxt: unknown key; did you mean 'context'?",
        ),
        (
            "source: catalogue:phi-4-mini\n    api_key: x",
            ":2: models.small: `api_key` is only for models with `base_url`",
        ),
        (
            "catalogue: phi-4-mini\n    base_url: http://x/v1",
            ":3: models.small.catalogue: the catalogue is for models that",
        ),
        ("catalogue: phi-4-mini\n    source: ./nowhere", "models.small.source: nowhere: no such folder or file"),
    ],
)
def test_what_is_wrong_is_told(model: str, message: str, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(f"models:\n  small:\n    {model}\n")
    assert main(["check", "--config", str(config)]) == 2
    assert message in capsys.readouterr().err


def managed(name: str, **entry: object) -> Model:
    return Model.model_validate({"name": name, "tier": "slm", "engine": "vllm", "source": "owner/model", **entry})


def test_groups_idle_times_and_hours_have_a_line_each() -> None:
    models = [managed("a"), managed("b", idle_minutes=2.5), managed("c", hours="22:00-06:00 UTC"), managed("d")]
    group = SwapGroup(models=("a", "b", "left-out"), keep=2)
    assert list(loading_lines(Config({model.name: model for model in models}, {}, {}, swap={"small": group}))) == [
        "swap.small: 2 of a, b loaded at a time, on demand",
        "b: loaded on demand, unloaded after 2.5 minutes without a request",
        "c: runs 22:00-06:00 UTC",
    ]


def test_what_will_probably_not_work_is_said(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    Path("weights/phi").mkdir(parents=True)
    config.write_text(
        "models:\n"
        "  long: {source: 'catalogue:phi-3-mini-4k', context: 8192}\n"
        "  hub: {tier: slm, engine: vllm, source: weights/phi}\n"
        "  here: {tier: slm, engine: vllm, source: ./weights/phi}\n"
        "  ours: {tier: slm, engine: ollama, base_url: ['http://h:11434', 'http://h:11434/v1'], context: 4096}\n"
        "  api: {tier: llm, engine: openai, base_url: http://api.example.com}\n"
    )
    assert main(["check", "--config", str(config)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "long: context 8,192 is above the 4,096 tokens of microsoft/Phi-3-mini-4k-instruct; the engine will probably"
        " not start",
        "ours: base_url http://h:11434 has no path; the API of ollama is usually at http://h:11434/v1",
        "hub: source weights/phi is read as a hub id; for the folder of that name, write ./weights/phi",
    ]
