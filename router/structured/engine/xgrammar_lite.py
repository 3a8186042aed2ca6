"""xgrammar without torch and transformers: it imports both, but does not need them to compile a grammar.

Only grammar workers import this: the stub modules would break code that needs the real packages.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from router.structured.engine.gaps import enforcement_gap, may_be_refused
from router.structured.workers.grammar_workers import GrammarSupport
from router.types import FormatKind


class _StubModule(ModuleType):
    """A module in which every public name is a class."""

    def __init__(self, name: str, **values: object) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(name)
        return object


def load() -> ModuleType | None:
    """Import the library; return None if it is not installed."""
    if "xgrammar" not in sys.modules:
        sys.modules["torch"] = None  # type: ignore[assignment]  # tvm_ffi works without torch, but not with a stub of it
        try:
            importlib.import_module("tvm_ffi")
            sys.modules["torch"] = _StubModule("torch", tensor=lambda *_, **__: None)
            sys.modules["transformers"] = _StubModule("transformers")
            importlib.import_module("xgrammar")
        except ImportError:
            return None
    return sys.modules["xgrammar"]


def grammar_support(kind: FormatKind, source: str) -> GrammarSupport:
    """Return how much of a format vLLM's decoding enforces."""
    xgrammar = load()
    if xgrammar is None:
        return GrammarSupport("none", "xgrammar is not installed")
    if kind in ("json_object", "choice"):
        return GrammarSupport("whole")
    if kind == "structural_tag":
        return GrammarSupport("none", "only guidance supports structural tags")
    schema = json.loads(source) if kind == "json_schema" else {}
    reason = enforcement_gap(schema, "xgrammar")
    if reason and may_be_refused(schema):
        return GrammarSupport("none", reason)
    compiler = _compiler(xgrammar)
    compile_: dict[str, Callable[[str], object]] = {
        "json_schema": compiler.compile_json_schema,
        "regex": compiler.compile_regex,
        "grammar": compiler.compile_grammar if "::=" in source else compiler.compile_lark,
    }
    try:
        compile_[kind](source)
    except (RuntimeError, ValueError) as error:
        return GrammarSupport("none", " ".join(str(error).split())[:300])
    return GrammarSupport("partial", reason) if reason else GrammarSupport("whole")


def _compiler(xgrammar: ModuleType) -> Any:
    vocabulary = [*(bytes([byte]) for byte in range(256)), b""]
    info = xgrammar.TokenizerInfo(vocabulary, vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[256])
    return xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
