"""What all entries of models.yaml have in common: they are frozen, and no key or type is let through unexpected."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Entry(BaseModel):
    """A mapping of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def as_tuple(value: object) -> object:
    """Return YAML's list as the tuple that a frozen entry holds; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value
