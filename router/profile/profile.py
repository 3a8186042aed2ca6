"""A model's profile: its adaptations, ready to be applied. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from router.config.models import Model
from router.profile.adaptation import Adaptation


@dataclass(frozen=True, slots=True)
class Profile:
    """What one model's upstream does not take, how it spells things, and what it wants."""

    refuses: Mapping[str, Any] = field(default_factory=dict)
    """paths of fields, with the only value that is refused, or None for any value"""
    renames: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    wants: frozenset[str] = frozenset()
    context: int | None = None
    unenforced: frozenset[str] = frozenset()
    """digests of schemas that decoding does not enforce"""
    changes_fields: bool = False
    """whether applying the profile can change a request"""

    @classmethod
    def of(cls, adaptations: Iterable[Adaptation]) -> Profile:
        """Return the profile that has these adaptations. Of two that contradict each other the later one holds."""
        found: dict[str, dict[str, Any]] = {}
        for kind, what, value in adaptations:
            found.setdefault(kind, {})[what] = value
        return cls(
            refuses=found.get("refuses", {}),
            renames=found.get("renames", {}),
            limits=found.get("limits", {}),
            wants=frozenset(found.get("wants", {})),
            context=found.get("context", {}).get("context"),
            unenforced=frozenset(found.get("unenforced", {})),
            changes_fields=bool(found.keys() - {"context"}),
        )


def declared(model: Model) -> list[Adaptation]:
    """Return what models.yaml says of a model."""
    return [
        *(Adaptation("refuses", path) for path in model.refuses),
        *(Adaptation("renames", old, new) for old, new in model.renames.items()),
        *(Adaptation("limits", name, limit) for name, limit in model.limits.items()),
        *(Adaptation("wants", want) for want in model.wants),
        *([Adaptation("context", "context", model.context)] if model.context else []),
    ]
