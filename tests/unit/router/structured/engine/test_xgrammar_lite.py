"""xgrammar where it is not installed."""

from router.structured.engine import xgrammar_lite
from router.structured.workers.grammar_workers import (
    GrammarSupport,
)


def test_without_xgrammar_nothing_of_it_is_enforced(monkeypatch):
    monkeypatch.setattr(xgrammar_lite, "load", lambda: None)
    assert xgrammar_lite.grammar_support("json_object", "") == GrammarSupport("none", "xgrammar is not installed")
