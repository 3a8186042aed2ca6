"""Structured output: `plan` (request -> constraint or 400), `assemble` (stream -> answer), `check` (-> verdict)."""
