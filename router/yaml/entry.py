"""The base class of all entries of models.yaml. They are frozen and reject unexpected keys and types."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Entry(BaseModel):
    """A mapping in models.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def as_tuple(value: object) -> object:
    """Convert a YAML list to a tuple, because entries are frozen. Return any other value unchanged."""
    return tuple(value) if isinstance(value, list) else value
