"""xgrammar without torch and transformers, which it imports and which compiling a grammar does not use.

Only the workshop's processes import this: the stand-ins would mislead whoever needs the real packages.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from router.structured.engine.gaps import gap, may_be_refused
from router.structured.workers.grammar_workers import GrammarSupport
from router.types import FormatKind


class _StandIn(ModuleType):
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
    """Import the library; None: it is not installed."""
    if "xgrammar" not in sys.modules:
        sys.modules["torch"] = None  # type: ignore[assignment]  # tvm_ffi does without; a stand-in would not do for it
        try:
            importlib.import_module("tvm_ffi")
            sys.modules["torch"] = _StandIn("torch", tensor=lambda *_, **__: None)
            sys.modules["transformers"] = _StandIn("transformers")
            importlib.import_module("xgrammar")
        except ImportError:
            return None
    return sys.modules["xgrammar"]


def enforces(kind: FormatKind, source: str) -> GrammarSupport:
    """Return how much of a form vLLM's decoding holds an answer to."""
    xgrammar = load()
    if xgrammar is None:
        return GrammarSupport("none", "xgrammar is not installed")
    if kind in ("json_object", "choice"):
        return GrammarSupport("whole")
    if kind == "structural_tag":
        return GrammarSupport("none", "structural tags are left to guidance")
    schema = json.loads(source) if kind == "json_schema" else {}
    why = gap(schema, "xgrammar")
    if why and may_be_refused(schema):
        return GrammarSupport("none", why)
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
    return GrammarSupport("partial", why) if why else GrammarSupport("whole")


def _compiler(xgrammar: ModuleType) -> Any:
    vocabulary = [*(bytes([byte]) for byte in range(256)), b""]
    info = xgrammar.TokenizerInfo(vocabulary, vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[256])
    return xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
