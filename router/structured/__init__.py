"""Structured output: `plan` (request -> constraint or 400), `assemble` (stream -> answer), `check` (-> verdict)."""

from router.structured.assemble import assemble
from router.structured.check import check
from router.structured.plan import Constraint, plan

__all__ = ["Constraint", "assemble", "check", "plan"]
