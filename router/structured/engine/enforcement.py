"""How much of a constraint an engine's decoding enforces. The engine's library is asked once per constraint."""

from __future__ import annotations

import msgspec

from router.config.models import Model
from router.structured.constraint import CallConstraint, Constraint, OutputFormat
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import Backend, Enforcement


async def enforcement_of(constraint: Constraint, model: Model, workers: GrammarWorkers) -> Enforcement:
    """Return how much of the constraint this model's decoding enforces.

    1. A provider's API, or a vLLM whose backend is not configured: unknown.
    2. A format: what the backend's library reports. If calls are allowed too, the format cannot be enforced: none.
    3. Required calls: vLLM gives guidance one JSON schema of all tools, so the weakest enforcement of any tool.
       xgrammar's own grammars enforce the names, and the arguments in part: partial. With a tool whose schema cannot
       be used: none.
    4. Optional calls: none.
    """
    if model.backend is None:
        return "unknown"
    if (known := constraint.enforced.get(model.backend)) is None:
        known = constraint.enforced[model.backend] = await _query(constraint, model.backend, workers)
    return known


async def _query(constraint: Constraint, backend: Backend, workers: GrammarWorkers) -> Enforcement:
    calls, output_format = constraint.calls, constraint.output_format
    if output_format and not calls:
        return (await workers.grammar_support(backend, output_format.kind, _source(output_format))).enforcement
    if calls is None or not calls.required or calls.legacy:
        return "none"
    if not all(tool.is_checked for tool in calls.tools.values()):
        return "none"
    if backend == "xgrammar":
        return "partial"
    return await _tools_enforcement(calls, backend, workers)


async def _tools_enforcement(calls: CallConstraint, backend: Backend, workers: GrammarWorkers) -> Enforcement:
    """Return how much of one schema of all tools is enforced. vLLM moves their `$defs` to its root."""
    defined: dict[str, object] = {}
    weakest: Enforcement = "whole"
    for tool in calls.tools.values():
        if tool.parameters is None:
            continue
        if tool.parameters.text.count('"$ref"') != tool.parameters.text.count('"$ref":"#/$defs/'):
            return "none"
        definitions = tool.parameters.value.get("$defs")
        for name, definition in (definitions if isinstance(definitions, dict) else {}).items():
            if defined.setdefault(name, definition) != definition:
                return "none"
        support = await workers.grammar_support(backend, "json_schema", tool.parameters.text)
        if support.enforcement == "none" or support.lenient:  # `lenient` cannot be set for a part of a schema
            return "none"
        if support.enforcement == "partial":
            weakest = "partial"
    return weakest


def _source(output_format: OutputFormat) -> str:
    if output_format.schema:
        return output_format.schema.text
    return (
        msgspec.json.encode(output_format.choices).decode() if output_format.kind == "choice" else output_format.source
    )
