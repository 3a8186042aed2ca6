"""Apply a profile to the fields of a request. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from router.profile import message_forms, schema_forms
from router.profile.fields import has_path, plain, without_path
from router.profile.profile import Profile
from router.upstream.request_fields import rename

NEEDS: Mapping[str, tuple[str, ...]] = {
    "logprobs": ("top_logprobs",),
    "tools": ("tool_choice", "parallel_tool_calls"),
    "functions": ("function_call",),
}
"""fields that mean nothing without the field that is dropped"""


def apply(profile: Profile, fields: dict[str, Any], body: Mapping[str, Any]) -> tuple[str, ...]:
    """Change the fields for the model's upstream, and return what was changed, such as `temperature=dropped`.

    `body` is the client's request: of a field that only the gateway has added nothing is said.
    """
    if not profile.changes_fields:
        return ()
    changes = apply_all(profile, fields)
    ours = {f"{name}=dropped" for name in ("stream_options", "repetition_detection") if body.get(name) is None}
    return tuple(change for change in changes if change not in ours)


def apply_all(profile: Profile, fields: dict[str, Any]) -> list[str]:
    """Change the fields, and return every change, also of fields that the gateway has added."""
    return [
        *message_forms.apply(profile.wants, fields),
        *schema_forms.apply(profile, fields),
        *rename(fields, profile.renames),
        *_drop(profile.refuses, fields),
        *_limit(profile.limits, fields),
    ]


def _drop(refuses: Mapping[str, Any], fields: dict[str, Any]) -> Iterator[str]:
    for path, only in refuses.items():
        name, *rest = path.split(".")
        if name not in fields:
            continue
        if not rest:
            if only is None or plain(fields, name) == only:
                for one in (name, *NEEDS.get(name, ())):
                    if fields.pop(one, None) is not None:
                        yield f"{one}=dropped"
        elif has_path(value := plain(fields, name), rest):
            fields[name] = without_path(value, rest, only)
            yield f"{path}=dropped"


def _limit(limits: Mapping[str, float], fields: dict[str, Any]) -> Iterator[str]:
    for name, limit in limits.items():
        value = plain(fields, name)
        if isinstance(value, int | float) and value > limit:
            fields[name] = int(limit) if isinstance(value, int) else limit
            yield f"{name}={limit:g}"
