"""What is changed in vLLM on a machine without a GPU exists in the installed vLLM, which is read and not imported."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from router.engine.command import CPU_PRELOAD


def test_the_function_that_is_replaced_exists() -> None:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent.joinpath("model_executor/models/registry.py").read_text(encoding="utf-8")
    functions = {node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    assert "_run_in_subprocess" in functions


def test_model_classes_are_inspected_in_the_process_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("vllm", "vllm.model_executor", "vllm.model_executor.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    registry = ModuleType("vllm.model_executor.models.registry")
    registry._run_in_subprocess = None  # type: ignore[attr-defined]
    sys.modules["vllm.model_executor.models"].registry = registry  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, registry.__name__, registry)
    monkeypatch.delitem(sys.modules, CPU_PRELOAD[-1], raising=False)
    importlib.import_module(CPU_PRELOAD[-1])
    assert registry._run_in_subprocess(lambda: "inspected") == "inspected"  # type: ignore[attr-defined]
    del sys.modules[CPU_PRELOAD[-1]]
