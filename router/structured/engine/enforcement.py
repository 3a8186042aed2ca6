"""How much of a constraint an engine's decoding enforces: asked of the engine's own library, once for each."""

from __future__ import annotations

import msgspec

from router.config.models import Model
from router.structured.constraint import Calls, Constraint, OutputFormat
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import Backend, Enforcement


async def enforcement_of(constraint: Constraint, model: Model, workers: GrammarWorkers) -> Enforcement:
    """Return how much of the constraint this model's decoding enforces.

    1. Another's API, or a vLLM whose backend nobody named: unknown.
    2. A form: what the backend's library says of it. Beside calls, the form cannot be decoded: none.
    3. Calls that must be made: guidance gets one JSON schema of all tools from vLLM, so the least that it says of any.
       xgrammar's own grammars hold the names, and the arguments in part.
    4. Calls that may be made: none.
    """
    if model.backend is None:
        return "unknown"
    if (known := constraint.enforced.get(model.backend)) is None:
        known = constraint.enforced[model.backend] = await _ask(constraint, model.backend, workers)
    return known


async def _ask(constraint: Constraint, backend: Backend, workers: GrammarWorkers) -> Enforcement:
    calls, output_format = constraint.calls, constraint.output_format
    if output_format and not calls:
        return (await workers.enforces(backend, output_format.kind, _source(output_format))).word
    if calls is None or not calls.required or calls.legacy:
        return "none"
    if backend == "xgrammar":
        return "partial"
    return await _of_tools(calls, backend, workers)


async def _of_tools(calls: Calls, backend: Backend, workers: GrammarWorkers) -> Enforcement:
    """Return how much is held of one schema of all tools; vLLM lifts their `$defs` to its root."""
    defined: dict[str, object] = {}
    least: Enforcement = "whole"
    for tool in calls.tools.values():
        if tool.parameters is None:
            continue
        if tool.parameters.text.count('"$ref"') != tool.parameters.text.count('"$ref":"#/$defs/'):
            return "none"
        definitions = tool.parameters.value.get("$defs")
        for name, definition in (definitions if isinstance(definitions, dict) else {}).items():
            if defined.setdefault(name, definition) != definition:
                return "none"
        held = await workers.enforces(backend, "json_schema", tool.parameters.text)
        if held.word == "none" or held.lenient:  # which cannot be asked for inside of a larger schema
            return "none"
        if held.word == "partial":
            least = "partial"
    return least


def _source(output_format: OutputFormat) -> str:
    if output_format.schema:
        return output_format.schema.text
    return (
        msgspec.json.encode(output_format.choices).decode() if output_format.kind == "choice" else output_format.source
    )
