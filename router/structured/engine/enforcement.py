"""How much of a constraint an engine's decoding enforces: asked of the engine's own library, once for each."""

from __future__ import annotations

import msgspec

from router.config.models import Model
from router.structured.constraint import Calls, Constraint, Form
from router.structured.workers.grammar_workers import Workshop
from router.types import Backend, Hold


async def hold_of(constraint: Constraint, model: Model, workshop: Workshop) -> Hold:
    """Return how much of the constraint this model's decoding enforces.

    1. Another's API, or a vLLM whose backend nobody named: unknown.
    2. A form: what the backend's library says of it. Beside calls, the form cannot be decoded: none.
    3. Calls that must be made: guidance gets one JSON schema of all tools from vLLM, so the least that it says of any.
       xgrammar's own grammars hold the names, and the arguments in part.
    4. Calls that may be made: none.
    """
    if model.backend is None:
        return "unknown"
    if (known := constraint.holds.get(model.backend)) is None:
        known = constraint.holds[model.backend] = await _ask(constraint, model.backend, workshop)
    return known


async def _ask(constraint: Constraint, backend: Backend, workshop: Workshop) -> Hold:
    calls, form = constraint.calls, constraint.form
    if form and not calls:
        return (await workshop.enforces(backend, form.kind, _source(form))).word
    if calls is None or not calls.required or calls.legacy:
        return "none"
    if backend == "xgrammar":
        return "partial"
    return await _of_tools(calls, backend, workshop)


async def _of_tools(calls: Calls, backend: Backend, workshop: Workshop) -> Hold:
    """Return how much is held of one schema of all tools; vLLM lifts their `$defs` to its root."""
    defined: dict[str, object] = {}
    least: Hold = "whole"
    for tool in calls.tools.values():
        if tool.parameters is None:
            continue
        if tool.parameters.text.count('"$ref"') != tool.parameters.text.count('"$ref":"#/$defs/'):
            return "none"
        definitions = tool.parameters.value.get("$defs")
        for name, definition in (definitions if isinstance(definitions, dict) else {}).items():
            if defined.setdefault(name, definition) != definition:
                return "none"
        held = await workshop.enforces(backend, "json_schema", tool.parameters.text)
        if held.word == "none" or held.lenient:  # which cannot be asked for inside of a larger schema
            return "none"
        if held.word == "partial":
            least = "partial"
    return least


def _source(form: Form) -> str:
    if form.schema:
        return form.schema.text
    return msgspec.json.encode(form.choices).decode() if form.kind == "choice" else form.source
